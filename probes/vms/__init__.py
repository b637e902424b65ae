"""VMs: which run, what they are called, and what has changed of their counts."""
