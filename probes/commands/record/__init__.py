"""`nvscope record`: events of shadow stage-2 MMUs, as traces."""
