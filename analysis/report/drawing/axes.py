"""Where on the plane a time, a duration or an address lies, and which of them get a label."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from nvscope.analysis.report.drawing.svg import PLANE
from nvscope.analysis.units import duration

Tick = tuple[float, str]

_GAP = 0.03  # of the plane: a break between two islands
_LEAST = 0.06  # of the plane: the narrowest island
_MAX_ISLANDS = 6
# A gap below this part of what is drawn is not worth a break.
_WORTH = 0.25


def time_ticks(width_ns: int, bins: int, most: int = 5) -> list[Tick]:
    """Round times since the start, on an axis of so many bins.

    >>> time_ticks(1_000_000_000, 100)
    [(0.0, '0'), (200.0, '20 s'), (400.0, '40 s'), (600.0, '60 s'), (800.0, '80 s')]
    """
    whole = width_ns * bins
    step = 10.0 ** math.floor(math.log10(whole / most))
    step *= next(by for by in (1, 2, 5, 10) if whole / (step * by) <= most)
    count = math.ceil(whole / step)
    times = (step * i for i in range(count) if step * i / whole < 0.97)
    return [(PLANE * t / whole, duration(t) if t else "0") for t in times]


class LogAxis:
    """Durations between two octaves of ns, on a log scale.

    >>> axis = LogAxis(10, 20)
    >>> axis.at(1 << 15), axis.at(1 << 30)
    (500.0, 1000.0)
    """

    def __init__(self, low_octave: int, high_octave: int) -> None:
        self.low = low_octave
        self.high = max(high_octave, low_octave + 1)

    def at(self, duration_ns: float) -> float:
        """Position in units of the plane, within it."""
        octave = math.log2(max(duration_ns, 1.0))
        return PLANE * min(max((octave - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self, most: int = 6) -> list[Tick]:
        """Powers of ten."""
        first = math.ceil(self.low * math.log10(2))
        last = math.floor(self.high * math.log10(2))
        step = max(1, -(-(last - first + 1) // most))
        tens = range(first, last + 1, step)
        return [(self.at(10.0**ten), duration(10.0**ten)) for ten in tens]


class Islands:
    """Addresses on an axis that leaves out what is empty: memory lies in a few islands.

    >>> axis = Islands([(0, 4096), (1 << 40, (1 << 40) + 4096)])
    >>> axis.at(0), axis.at(1 << 40), axis.at((1 << 40) + 4096)
    (0.0, 515.0, 1000.0)
    """

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.islands = _islands(sorted(ranges)) or [(0, 1)]
        room = PLANE * (1 - _GAP * (len(self.islands) - 1))
        lengths = [end - start for start, end in self.islands]
        parts = [max(length / sum(lengths), _LEAST) for length in lengths]
        self.widths = [room * part / sum(parts) for part in parts]
        self.lefts = [sum(self.widths[:i]) + PLANE * _GAP * i for i in range(len(self.islands))]

    def at(self, address: int) -> float:
        """Position in units of the plane."""
        for (start, end), left, width in zip(self.islands, self.lefts, self.widths, strict=True):
            if address <= end:
                return left + width * max(0, address - start) / (end - start)
        return PLANE

    def breaks(self) -> list[float]:
        """The middle of each gap."""
        return [left - PLANE * _GAP / 2 for left in self.lefts[1:]]

    def ticks(self, apart: float) -> list[Tick]:
        """The islands' starts, and ends where there is room: labels lie `apart` units or more."""
        wanted = []
        for (start, end), left, width in zip(self.islands, self.lefts, self.widths, strict=True):
            wanted += [(left, start, 0), (left + width, end, 1)]
        wanted.sort(key=lambda tick: tick[2])  # starts first
        found: list[tuple[float, str]] = []
        for position, address, _ in wanted:
            if all(abs(position - other) >= apart for other, _ in found):
                found.append((position, f"{address:#x}"))
        return sorted(found)


def _islands(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out the widest gap while that makes the rest much larger.

    >>> _islands([(0, 8), (9, 16), (1000, 1016)])
    [(0, 16), (1000, 1016)]
    """
    merged = _merged(ranges, 0)
    if not merged:
        return []
    gaps = sorted((b[0] - a[1] for a, b in pairwise(merged)), reverse=True)
    span, least = merged[-1][1] - merged[0][0], gaps[0] if gaps else 0
    for gap in gaps[: _MAX_ISLANDS - 1]:
        if gap < _WORTH * span:
            break
        span -= gap
        least = gap - 1
    return _merged(merged, least)


def _merged(ranges: list[tuple[int, int]], gap: float) -> list[tuple[int, int]]:
    """Sorted ranges, those joined that are no further apart than gap."""
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
