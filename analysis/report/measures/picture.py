"""What the shadow MMUs of a VM map at one moment, reduced to what a picture can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nvscope.analysis.interop.ranges import Ranges
from nvscope.analysis.interop.refaults import Refaults

MAX_SEGMENTS = 2000  # of one MMU: more would be closer than a picture can tell apart
MAX_SPANS = 500

Space = tuple[Refaults[Any], Ranges[int | None]]


class Segment(NamedTuple):
    """Nested IPAs from nested_ipa on, mapped to as many canonical IPAs; in bytes."""

    nested_ipa: int
    canonical_ipa: int
    size: int


@dataclass(frozen=True)
class MmuPicture:
    """One shadow MMU. unknown: canonical ranges (start, end) whose nested IPAs are forgotten;
    grain: what is closer together than this many bytes is drawn as one.
    """

    mmu: int
    mappings: int
    mapped_bytes: int
    segments: list[Segment]
    unknown: list[tuple[int, int]]
    grain: int


@dataclass(frozen=True)
class Picture:
    """All shadow MMUs of a VM that map something at time_ns."""

    time_ns: int
    mappings: int
    mmus: list[MmuPicture]


def draw(time_ns: int, spaces: Mapping[int, Space]) -> Picture:
    """Look at the spaces as they are now: O(n log n) in what they map."""
    mmus = [_mmu(mmu, mapped, entries) for mmu, (mapped, entries) in spaces.items()]
    return Picture(time_ns, sum(mmu.mappings for mmu in mmus), mmus)


def _mmu(mmu: int, mapped: Refaults[Any], entries: Ranges[int | None]) -> MmuPicture:
    segments = joined(Segment(m.nested, m.canonical, m.size) for m in mapped)
    grain = 0
    while len(segments) > MAX_SEGMENTS:
        grain = max(4096, grain * 2)
        segments = coarser(segments, grain)
    unknown = [(r.start, r.end) for r in entries if r.value is None]
    unknown.sort(key=lambda span: span[0] - span[1])  # the widest are the ones to be seen
    return MmuPicture(mmu, mapped.count, mapped.bytes, segments, sorted(unknown[:MAX_SPANS]), grain)


def joined(segments: Iterable[Segment]) -> list[Segment]:
    """Segments in the order of nested IPAs; one that goes on where the last ends is part of it.

    >>> [tuple(s) for s in joined([Segment(0, 64, 4), Segment(4, 68, 4), Segment(8, 0, 4)])]
    [(0, 64, 8), (8, 0, 4)]
    """
    found: list[Segment] = []
    for new in segments:
        last = found[-1] if found else None
        if last and (last.nested_ipa + last.size, last.canonical_ipa + last.size) == new[:2]:
            found[-1] = last._replace(size=last.size + new.size)
        else:
            found.append(new)
    return found


def coarser(segments: list[Segment], grain: int) -> list[Segment]:
    """One segment for all short ones that begin in the same cell of a grid, `grain` bytes wide.

    >>> [tuple(s) for s in coarser([Segment(0, 0, 4), Segment(8, 4, 4), Segment(64, 0, 4)], 16)]
    [(0, 0, 4), (64, 0, 4)]
    """
    cells: dict[tuple[int, int], Segment] = {}
    for new in segments:
        cell = (new.nested_ipa // grain, new.canonical_ipa // grain)
        old = cells.get(cell)
        if old is None or new.size > old.size:
            cells[cell] = new
    return sorted(cells.values())
