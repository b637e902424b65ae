"""Traces: the event table, and its files."""
