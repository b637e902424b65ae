"""Independent counts: ftrace's, and a workload's own."""
