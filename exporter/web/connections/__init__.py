"""Connections: accepted, read, answered, bounded in number and time."""
