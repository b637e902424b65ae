"""A running host: QEMU, the way in, and what is driven in it."""
