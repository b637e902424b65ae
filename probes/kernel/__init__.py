"""The running kernel: its types, symbols and features, and system calls on it (libbpf, perf)."""
