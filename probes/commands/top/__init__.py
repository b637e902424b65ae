"""`nvscope top`: what unmaps cost each VM, live."""
