"""nvscope: what nested virtualization costs a KVM/arm64 host, seen with eBPF."""

__version__ = "0.1.0"
__date__ = "2026-11-26"  # of this version: what the manual pages say
