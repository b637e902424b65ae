"""What a trace says in numbers, read once in bounded memory."""
