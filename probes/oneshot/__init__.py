"""What an engineer asks for at a terminal: `nvscope probe` and `nvscope top`."""
