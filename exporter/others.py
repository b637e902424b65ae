"""VMs past the bound, added up as one: a counter of theirs never goes down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import TypeVar

from nvscope.probes.durations import NONE, difference, total
from nvscope.probes.snapshot import (
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    Row,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

# Of no VM: no struct kvm lies at address 0.
KEY = VmKey(0, 0)

_R = TypeVar("_R", bound=Row)
# What is counted in a row: durations, and bytes where it has them.
_Counted = tuple[Durations, int]


class Others:
    """The sum of all that VMs did while they were among the others; it stays when a VM ends.

    Complexity: O(rows of those VMs) memory and time, O(kinds of rows) for those that have ended.
    """

    def __init__(self) -> None:
        self._members: Set[VmKey] = frozenset()
        self._last: dict[tuple[VmKey, Row], _Counted] = {}
        self._sums: dict[Row, _Counted] = {}

    @property
    def used(self) -> bool:
        """Whether there are others, or ever were."""
        return bool(self._members or self._sums)

    def fold(self, snapshot: Snapshot, alive: Set[VmKey], ended: Set[VmKey]) -> Snapshot:
        """Return the snapshot with the rows of these VMs as rows of KEY.

        alive: those that are others now; ended: VMs that have, whose rows are still read.
        """
        self._members = alive | (self._members & ended)
        last, self._last = self._last, {}
        for row in snapshot.rows():
            if row.vm in self._members:
                self._add(row, last)
        return Snapshot(
            self._merged(snapshot.notifier_unmaps, NotifierUnmaps),
            self._merged(snapshot.s2_faults, S2Faults),
            self._merged(snapshot.shadow_unmaps, ShadowUnmaps),
            self._merged(snapshot.revmap_records, RevmapRecords),
            self._broken(snapshot.broken, alive),
            snapshot.lost,
        )

    def _add(self, row: Row, last: Mapping[tuple[VmKey, Row], _Counted]) -> None:
        """Add what came since the last look; all of it where the kernel began anew."""
        kind, now = _kind(row), (row.durations, _size_bytes(row))
        self._last[row.vm, kind] = now
        before = last.get((row.vm, kind), (NONE, 0))
        if now == before:
            self._sums.setdefault(kind, (NONE, 0))
            return
        durations, size_bytes = self._sums.get(kind, (NONE, 0))
        came = difference(now[0], before[0])
        anew = came is now[0]
        self._sums[kind] = (
            total([durations, came]),
            size_bytes + now[1] - (0 if anew else before[1]),
        )

    def _merged(self, rows: Iterable[_R], of: type[_R]) -> tuple[_R, ...]:
        own = [row for row in rows if row.vm not in self._members]
        sums = (_with(kind, *counted) for kind, counted in self._sums.items())
        return (*own, *(row for row in sums if isinstance(row, of)))

    def _broken(self, broken: Mapping[VmKey, int], alive: Set[VmKey]) -> dict[VmKey, int]:
        """A gauge: of VMs that run."""
        own = {vm: count for vm, count in broken.items() if vm not in self._members}
        return own | {KEY: sum(broken.get(vm, 0) for vm in alive)}


def _size_bytes(row: Row) -> int:
    return row.size_bytes if isinstance(row, ShadowUnmaps) else 0


def _kind(row: Row) -> Row:
    """What a row counts, apart from whose and how many."""
    return _with(replace(row, vm=KEY), NONE, 0)


def _with(row: Row, durations: Durations, size_bytes: int) -> Row:
    if isinstance(row, ShadowUnmaps):
        return replace(row, durations=durations, size_bytes=size_bytes)
    return replace(row, durations=durations)
