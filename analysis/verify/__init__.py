"""What the page tables themselves say, held against what a trace says is mapped."""
