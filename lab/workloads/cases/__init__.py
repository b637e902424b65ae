"""What a reverse map can meet, and the mistakes it can make: each a play with a known outcome."""
