"""Probe points: which functions serve them, the BPF programs on these, compiled and attached."""
