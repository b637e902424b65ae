"""`nvscope lab`: its commands, and what they share."""
