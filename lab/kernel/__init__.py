"""Kernels for the lab: where they come from, what they are called, what is built for them.

unpack.py and initramfs.py serve packages/ alone, and stay here: their text, import lines included,
is in the key of each packaged kernel in the cache. A move would fetch all of them anew.
"""
