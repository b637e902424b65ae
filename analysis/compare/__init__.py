"""Two runs of a probe against each other: what differs, and whether that is beyond doubt."""
