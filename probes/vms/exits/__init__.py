"""Hearing that a process has ended."""
