"""BPF programs and what attaches and reads them; the base that the other subpackages stand on."""
