"""nvscope: what nested virtualization costs a KVM/arm64 host, seen with eBPF."""

__version__ = "0.1.0"
