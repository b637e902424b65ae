"""Kernels that Debian has packaged: which there are, and how one gets ready to boot."""
