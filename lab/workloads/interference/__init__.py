"""What else happens on a host: memory is reclaimed or merged, and maps are read."""
