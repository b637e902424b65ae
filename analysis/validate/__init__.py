"""Validation: whether the kernel did what the reference model says."""
