"""A series as steps: planned, carried out one after the other, and kept."""
