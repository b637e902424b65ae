"""Traces, offline: the reference model of the reverse map, validation, reports."""
