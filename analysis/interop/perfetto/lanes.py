"""Slices that overlap without one holding the other cannot share a line: they get lanes."""

from __future__ import annotations

# Slices of a lane that are remembered: one that began before so many others is rare.
_DEEP = 256


class Lanes:
    """Gives each slice the first lane in which it fits. Slices come in the order of their ends.

    >>> lanes = Lanes()
    >>> lanes.place(0, 10), lanes.place(5, 15), lanes.place(16, 17), lanes.place(16, 20)
    (0, 1, 0, 0)
    """

    def __init__(self) -> None:
        self._lanes: list[list[tuple[int, int]]] = []

    def place(self, begin: int, end: int) -> int:
        """The number of a lane, from 0."""
        for number, slices in enumerate(self._lanes):
            if self._fits(slices, begin, end):
                return number
        self._lanes.append([(begin, end)])
        return len(self._lanes) - 1

    @staticmethod
    def _fits(slices: list[tuple[int, int]], begin: int, end: int) -> bool:
        kept = len(slices)
        while kept and slices[kept - 1][0] >= begin:  # lies within the new one
            kept -= 1
        if kept and slices[kept - 1][1] > begin:
            return False
        del slices[kept:]
        slices.append((begin, end))
        del slices[:-_DEEP]
        return True
