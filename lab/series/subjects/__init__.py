"""The kernels of a series, as users name them, commits of a tree among them; and their hosts."""
