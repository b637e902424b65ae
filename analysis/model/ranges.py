"""Ranges of addresses that never overlap, each with a value: the kernel's is a maple tree."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

# Entries are kept by regions of 8 MiB: of pages, a list of up to 2^11, which is short enough to be
# sorted at each insertion; and blocks of a page table's next level are within one.
_REGION_SHIFT = 23


class Entry(NamedTuple):
    """[start, end) in bytes; value: see rules.VALID_ENTRY."""

    start: int
    end: int
    value: int


class Ranges:
    """Entries by address. O(log n) as long as the range asked for is small.

    >>> ranges = Ranges()
    >>> ranges.add(Entry(0, 4, 1)), ranges.add(Entry(8, 12, 2))
    (None, None)
    >>> ranges.first(2, 20), ranges.first(4, 8)
    (Entry(start=0, end=4, value=1), None)
    """

    def __init__(self) -> None:
        self._at: dict[int, Entry] = {}
        self.at = self._at.get  # the entry that starts there, or None. O(1)
        self._regions: dict[int, list[int]] = {}  # -> the starts in there, sorted
        self._wide: list[int] = []  # starts of those that reach into another region, sorted

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Entry]:
        """All, in order."""
        for region in sorted(self._regions):
            for start in self._regions[region]:
                yield self._at[start]

    def first(self, start: int, end: int) -> Entry | None:
        """The first that intersects [start, end)."""
        entry = self._at.get(start)
        if entry is not None and start < end:
            return entry
        region = start >> _REGION_SHIFT
        if region == (end - 1) >> _REGION_SHIFT and not self._wide:  # usual, and all in one region
            starts = self._regions.get(region)
            if starts is None:
                return None
            index = bisect_left(starts, start)
            if index and (entry := self._at[starts[index - 1]]).end > start:
                return entry
            found = index < len(starts) and starts[index] < end
            return self._at[starts[index]] if found else None
        before = self._reaching(start)
        if before is not None:
            return before
        for region in self._used(start, end):
            starts = self._regions[region]
            index = bisect_left(starts, start)
            if index < len(starts):
                return self._at[starts[index]] if starts[index] < end else None
        return None

    def overlapping(self, start: int, end: int) -> list[Entry]:
        """All that intersect [start, end), in order."""
        region = start >> _REGION_SHIFT
        if region == (end - 1) >> _REGION_SHIFT and not self._wide:  # usual, and all in one region
            starts = self._regions.get(region)
            if starts is None:
                return []
            last = index = bisect_left(starts, end)
            while index and self._at[starts[index - 1]].end > start:
                index -= 1
            return [self._at[found] for found in starts[index:last]] if index < last else []
        before = self._reaching(start)
        found = [] if before is None else [before]
        for region in self._used(start, end):
            starts = self._regions[region]
            for index in range(bisect_left(starts, start), len(starts)):
                if starts[index] >= end:
                    return found
                found.append(self._at[starts[index]])
        return found

    def add(self, entry: Entry) -> None:
        """Add one; nothing may overlap it."""
        start, end, _ = entry
        region = start >> _REGION_SHIFT
        starts = self._regions.get(region)
        if starts is None:
            self._regions[region] = [start]
        else:
            insort(starts, start)
        if (end - 1) >> _REGION_SHIFT != region:
            insort(self._wide, start)
        self._at[start] = entry

    def remove(self, entry: Entry) -> None:
        """Take one out; raises KeyError where it is not there."""
        start, end, _ = entry
        region = start >> _REGION_SHIFT
        del self._at[start]
        starts = self._regions[region]
        del starts[bisect_left(starts, start)]
        if not starts:
            del self._regions[region]
        if (end - 1) >> _REGION_SHIFT != region:
            del self._wide[bisect_left(self._wide, start)]

    def clear(self) -> None:
        """Take out all."""
        self._at.clear()
        self._regions.clear()
        self._wide.clear()

    def _reaching(self, start: int) -> Entry | None:
        """The one that starts before, and does not end before."""
        for starts in (self._regions.get(start >> _REGION_SHIFT), self._wide):
            if starts:
                index = bisect_left(starts, start)
                if index > 0 and self._at[starts[index - 1]].end > start:
                    return self._at[starts[index - 1]]
        return None

    def _used(self, start: int, end: int) -> list[int]:
        """The regions of [start, end) in which an entry starts, in order."""
        first, last = start >> _REGION_SHIFT, (end - 1) >> _REGION_SHIFT
        if first == last:
            return [first] if first in self._regions else []
        if last - first < len(self._regions):
            return [region for region in range(first, last + 1) if region in self._regions]
        return sorted(region for region in self._regions if first <= region <= last)
