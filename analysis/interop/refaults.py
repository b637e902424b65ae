"""What a shadow MMU maps, and which unmap took what is not mapped again: who owes a refault.

An unmap is over here as it begins: what is mapped from then on comes back. (The validator, which
has to be certain, waits for its end.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from nvscope.analysis.interop.ranges import Range, Ranges
from nvscope.analysis.model.mappings import Mapping, Mappings, is_leaf, make_mapping

T = TypeVar("T")


class Refaults(Generic[T]):
    """Of one shadow MMU. T: what a user calls an unmap.

    count, bytes: of what is mapped. left_out: mappings of a size that no page table has.

    >>> mmu = Refaults[str]()
    >>> mmu.map(0, 0x8000, 4096), mmu.map(4096, 0x9000, 4096)
    ([], [])
    >>> taken = mmu.unmap(0, 8192, full=False)
    >>> mmu.owe(taken, "the unmap")
    >>> mmu.map(0, 0x8000, 4096)
    [Range(start=0, end=4096, value='the unmap')]
    >>> mmu.count, mmu.forgive(0, 8192, full=False)
    (1, [Range(start=4096, end=8192, value='the unmap')])
    """

    def __init__(self) -> None:
        self._mappings = Mappings()
        self._owed: Ranges[T] = Ranges()
        self.count = 0
        self.bytes = 0
        self.left_out = 0

    def __iter__(self) -> Iterator[Mapping]:
        """What is mapped, by nested IPA. O(n log n)."""
        return iter(sorted(self._mappings))

    def map(self, nested: int, canonical: int, size: int, row: int = 0) -> list[Range[T]]:
        """Something is mapped, in place of what it meets; returns what is back with it, of whom."""
        if not is_leaf(size):
            self.left_out += 1
            return []
        gone = self._mappings.make(make_mapping((nested, canonical, size, row, True)))
        self.count += 1 - len(gone)
        self.bytes += size - sum([mapping.size for mapping in gone])
        return self._owed.cut(nested, nested + size) if len(self._owed) else []

    def unmap(self, start: int, size: int, *, full: bool) -> list[Mapping]:
        """The nested range [start, +size), or all, is unmapped; returns what that took."""
        taken = self._mappings.take(start, start + size, full=full)
        self.count -= len(taken)
        self.bytes -= sum([mapping.size for mapping in taken])
        return taken

    def owe(self, taken: list[Mapping], unmap: T) -> None:
        """What an unmap took has to come back."""
        for mapping in taken:
            self._owed.add(mapping.nested, mapping.nested + mapping.size, unmap)

    def forgive(self, start: int, size: int, *, full: bool) -> list[Range[T]]:
        """What was taken of there, or at all, need not come back; returns it."""
        return self._owed.clear() if full else self._owed.cut(start, start + size)
