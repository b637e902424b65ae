"""Finding a text in a process's memory, tried on this process."""

from __future__ import annotations

import mmap
import os

import pytest

from nvscope.lab.workloads.interference.search import BLOCK_BYTES, PAGE_BYTES, fullest_block
from nvscope.lab.workloads.vmm.memory import address_of

TEXT = b"a text to be found"


def test_the_block_with_most_of_it_is_found() -> None:
    size = 4 * BLOCK_BYTES
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        start = address_of(memory)
        first = -start % BLOCK_BYTES  # the first whole block
        with pytest.raises(LookupError):
            fullest_block(os.getpid(), start, size, TEXT)
        memory[first : first + len(TEXT)] = TEXT
        assert fullest_block(os.getpid(), start, size, TEXT) == start + first
        second = first + BLOCK_BYTES
        for page in (3, 7):
            at = second + page * PAGE_BYTES
            memory[at : at + len(TEXT)] = TEXT
        assert fullest_block(os.getpid(), start, size, TEXT) == start + second
