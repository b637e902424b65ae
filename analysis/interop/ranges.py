"""Disjoint ranges of one address space, each with a value of any type; they can be cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from nvscope.analysis.model import ranges as model

T = TypeVar("T")


class Range(NamedTuple, Generic[T]):
    """[start, end) in bytes."""

    start: int
    end: int
    value: T


class Ranges(Generic[T]):
    """Disjoint ranges. All that takes a range costs O(log n), and as much for each that it meets.

    >>> owed = Ranges[str]()
    >>> owed.add(0, 8, "a")
    >>> owed.cut(2, 4)
    [Range(start=2, end=4, value='a')]
    >>> [(r.start, r.end) for r in owed]
    [(0, 2), (4, 8)]
    """

    def __init__(self) -> None:
        self._ranges = model.Ranges()
        self._values: dict[int, T] = {}  # by the range's start
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Range[T]]:
        for start, end, _ in self._ranges:
            yield Range(start, end, self._values[start])

    def add(self, start: int, end: int, value: T) -> None:
        """Add a range that meets none that is there."""
        if end > start:
            self._ranges.add(model.Entry(start, end, 0))
            self._values[start] = value
            self.bytes += end - start

    def take(self, start: int, end: int) -> list[Range[T]]:
        """Remove the ranges that intersect [start, end), whole."""
        found = []
        for entry in self._ranges.overlapping(start, end):
            self._ranges.remove(entry)
            self.bytes -= entry.end - entry.start
            found.append(Range(entry.start, entry.end, self._values.pop(entry.start)))
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
        self._ranges.clear()
        self._values.clear()
        self.bytes = 0
        return found
