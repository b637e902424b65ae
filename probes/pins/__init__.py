"""Attached probes that outlive the process which attached them: kept by a BPF file system."""
