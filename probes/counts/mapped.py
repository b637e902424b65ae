"""BPF arrays as memory of ours, for reading alone: no system call for what is read."""

from __future__ import annotations

import mmap
from typing import Self


class MappedArray:
    """An array map with BPF_F_MMAPABLE, by its descriptor, of which a copy is kept; not by one for
    reading alone (libbpf.open_pinned).

    Only as much is mapped as has been asked for: what is mapped counts as this process's memory.
    Not for two threads at once.
    """

    def __init__(self, fd: int, value_bytes: int) -> None:
        self._fd = fd
        self._value_bytes = value_bytes  # a multiple of 8, as the kernel lays values out
        self._memory: mmap.mmap | None = None

    def read(self, first: int, count: int) -> bytes:
        """So many values from the first on, as they are now. Raises OSError.

        Each word of 64 bits is one that was there at some time; words may be of different times.
        """
        begin, end = (index * self._value_bytes for index in (first, first + count))
        if self._memory is None or len(self._memory) < end:
            self._map(end)
        assert self._memory is not None
        return self._memory[begin:end]

    def close(self) -> None:
        """Let go of the memory. May be called twice."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def _map(self, size: int) -> None:
        self.close()
        whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(self._fd, whole, mmap.MAP_SHARED, mmap.PROT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
