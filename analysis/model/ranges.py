"""Ranges of addresses that never overlap, each with a value: the kernel's is a maple tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sortedcontainers import SortedList


class Entry(NamedTuple):
    """[start, end) in bytes; value: see rules.VALID_ENTRY."""

    start: int
    end: int
    value: int


class Ranges:
    """Entries by address. All is O(log n), and O(log n + found) where several are found.

    >>> ranges = Ranges()
    >>> ranges.add(Entry(0, 4, 1)), ranges.add(Entry(8, 12, 2))
    (None, None)
    >>> ranges.first(2, 20), ranges.first(4, 8)
    (Entry(start=0, end=4, value=1), None)
    """

    def __init__(self) -> None:
        self._starts: SortedList[int] = SortedList()
        self._at: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Entry]:
        return (self._at[start] for start in self._starts)

    def at(self, start: int) -> Entry | None:
        """The entry that starts there. O(1)."""
        return self._at.get(start)

    def first(self, start: int, end: int) -> Entry | None:
        """The first that intersects [start, end)."""
        for before in self._starts.irange(None, start, reverse=True):
            if self._at[before].end > start:
                return self._at[before]
            break
        for found in self._starts.irange(start, end, inclusive=(True, False)):
            return self._at[found]
        return None

    def overlapping(self, start: int, end: int) -> list[Entry]:
        """All that intersect [start, end), in order."""
        found: list[Entry] = []
        for before in self._starts.irange(None, end, inclusive=(True, False), reverse=True):
            entry = self._at[before]
            if entry.end <= start:
                break
            found.append(entry)
        return found[::-1]

    def add(self, entry: Entry) -> None:
        """Add one; nothing may overlap it."""
        self._starts.add(entry.start)
        self._at[entry.start] = entry

    def remove(self, entry: Entry) -> None:
        """Take one out; raises KeyError where it is not there."""
        del self._at[entry.start]
        self._starts.remove(entry.start)

    def clear(self) -> None:
        """Take out all."""
        self._starts.clear()
        self._at.clear()
