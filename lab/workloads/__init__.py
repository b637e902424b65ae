"""Programs that run in the lab's host, by `python3 -m`; the folders have what they are made of."""
