"""Disjoint ranges of one address space, each with a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from sortedcontainers import SortedDict

T = TypeVar("T")


class Range(NamedTuple, Generic[T]):
    """[start, end) in bytes."""

    start: int
    end: int
    value: T


class Ranges(Generic[T]):
    """Disjoint ranges. All that takes a range costs O(log n), and O(1) for each that it meets.

    >>> owed = Ranges[str]()
    >>> owed.add(0, 8, "a")
    >>> owed.cut(2, 4)
    [Range(start=2, end=4, value='a')]
    >>> [(r.start, r.end) for r in owed]
    [(0, 2), (4, 8)]
    """

    def __init__(self) -> None:
        self._by_start = SortedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_start)

    def __iter__(self) -> Iterator[Range[T]]:
        for start, (end, value) in self._by_start.items():
            yield Range(start, end, value)

    def add(self, start: int, end: int, value: T) -> None:
        """Add a range that meets none that is there."""
        if end > start:
            self._by_start[start] = (end, value)
            self.bytes += end - start

    def take(self, start: int, end: int) -> list[Range[T]]:
        """Remove the ranges that intersect [start, end), whole."""
        exact = self._by_start.get(start)
        if exact is not None and exact[0] == end:  # the usual case, and a cheap one
            del self._by_start[start]
            self.bytes -= end - start
            return [Range(start, end, exact[1])]
        found = self._meeting(start, end)
        for each in found:
            del self._by_start[each.start]
            self.bytes -= each.end - each.start
        return found

    def cut(self, start: int, end: int) -> list[Range[T]]:
        """Remove [start, end) from the ranges; returns what was there of it."""
        parts = []
        for old in self.take(start, end):
            self.add(old.start, min(old.end, start), old.value)
            self.add(max(old.start, end), old.end, old.value)
            parts.append(Range(max(old.start, start), min(old.end, end), old.value))
        return parts

    def clear(self) -> list[Range[T]]:
        """Remove all."""
        found = list(self)
        self._by_start.clear()
        self.bytes = 0
        return found

    def _meeting(self, start: int, end: int) -> list[Range[T]]:
        found = []
        for key in self._by_start.irange(None, end, (True, False), reverse=True):
            its_end, value = self._by_start[key]
            if its_end <= start:
                break
            found.append(Range(key, its_end, value))
        return found[::-1]
