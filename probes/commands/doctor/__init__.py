"""`nvscope doctor`: what this host is, and what will work on it."""
