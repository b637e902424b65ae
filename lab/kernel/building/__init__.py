"""Kernels that are built here, from source, patches and settings."""
