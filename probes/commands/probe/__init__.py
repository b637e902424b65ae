"""`nvscope probe`: one-shot latency probes."""
