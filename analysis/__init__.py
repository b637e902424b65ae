"""Traces, the reference model of the reverse map, and the validator: not written yet."""
