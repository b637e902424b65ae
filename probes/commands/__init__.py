"""Commands for a terminal, and what they share: options, numbers, stopping."""
