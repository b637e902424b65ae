"""Reports: what a trace shows, as one HTML page."""
