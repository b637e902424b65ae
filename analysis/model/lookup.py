"""Which shadow MMUs a canonical range concerns: the canonical tree of v1, which v2 took out."""

from __future__ import annotations

from collections.abc import Iterable

from nvscope.analysis.model.ranges import Entry, Ranges


class Lookup:
    """Canonical ranges -> the MMUs that recorded them.

    May name too many MMUs, never too few. Ranges that overlap become one, as in the reverse map.

    >>> lookup = Lookup()
    >>> lookup.add(0, 4096, 1), lookup.add(0, 4096, 2)
    (None, None)
    >>> sorted(lookup.find(4095, 8192)), sorted(lookup.find(4096, 8192))
    ([1, 2], [])
    """

    def __init__(self) -> None:
        self._ranges = Ranges()
        self._mmus: dict[int, set[int]] = {}  # by the range's start

    def __len__(self) -> int:
        return len(self._ranges)

    def add(self, start: int, end: int, mmu: int) -> None:
        """An MMU recorded the range."""
        old = self._ranges.overlapping(start, end)
        mmus = {mmu}.union(*(self._mmus.pop(entry.start) for entry in old))
        for entry in old:
            self._ranges.remove(entry)
            start, end = min(start, entry.start), max(end, entry.end)
        self._ranges.add(Entry(start, end, 0))
        self._mmus[start] = mmus

    def find(self, start: int, end: int) -> set[int]:
        """The MMUs that may map something of the range."""
        found = self._ranges.overlapping(start, end)
        return set().union(*(self._mmus[entry.start] for entry in found))

    def forget(self, gone: Iterable[Entry], left: Ranges, mmu: int) -> None:
        """An MMU's reverse map has lost the entries `gone`, and has those `left`."""
        for entry in gone:
            for found in self._ranges.overlapping(entry.start, entry.end):
                if left.first(found.start, found.end) is not None:
                    continue
                mmus = self._mmus[found.start]
                mmus.discard(mmu)
                if not mmus:
                    del self._mmus[found.start]
                    self._ranges.remove(found)
