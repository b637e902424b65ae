"""What each check runs in a watched host, on which kernels, and what came of it."""
