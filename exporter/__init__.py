"""What the BPF programs have counted, as Prometheus metrics over HTTP."""
