"""Where in another process's memory some text is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

PAGE_BYTES = 4 << 10
BLOCK_BYTES = 2 << 20
_ENTRY_BYTES = 8
_PRESENT = 1 << 63  # Documentation/admin-guide/mm/pagemap.rst


def fullest_block(pid: int, start: int, size_bytes: int, text: bytes) -> int:
    """The 2 MiB, aligned, of [start, start + size_bytes) with most of the text in them.

    Reads only pages that are there, and so brings none in. Raises LookupError where there is none.
    """
    first = -(-start // BLOCK_BYTES) * BLOCK_BYTES
    blocks = range(first, start + size_bytes - BLOCK_BYTES + 1, BLOCK_BYTES)
    folder = Path(f"/proc/{pid}")
    with (folder / "mem").open("rb", 0) as memory, (folder / "pagemap").open("rb", 0) as pagemap:
        counts = {block: _count(memory, pagemap, block, text) for block in blocks}
    best = max(counts, key=counts.__getitem__, default=None)
    if best is None or not counts[best]:
        raise LookupError(f"process {pid} has no {text!r} in its memory")
    return best


def _count(memory: BinaryIO, pagemap: BinaryIO, block: int, text: bytes) -> int:
    found = 0
    for address, size_bytes in _present(pagemap, block):
        memory.seek(address)
        found += memory.read(size_bytes).count(text)
    return found


def _present(pagemap: BinaryIO, block: int) -> Iterator[tuple[int, int]]:
    """The runs of pages in a block that are there: (address, bytes)."""
    pages = BLOCK_BYTES // PAGE_BYTES
    pagemap.seek(block // PAGE_BYTES * _ENTRY_BYTES)
    entries = struct.unpack(f"<{pages}Q", pagemap.read(pages * _ENTRY_BYTES))
    for there, run in groupby(range(pages), lambda page: bool(entries[page] & _PRESENT)):
        numbers = list(run)
        if there:
            yield block + numbers[0] * PAGE_BYTES, len(numbers) * PAGE_BYTES
