"""VMs past the bound, added up as one: a counter of theirs never goes down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

from nvscope.probes.counts.durations import NONE, difference, total
from nvscope.probes.counts.snapshot import (
    KINDS,
    Durations,
    Row,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

# Of no VM: no struct kvm lies at address 0.
KEY = VmKey(0, 0)

# What is counted in a row: durations, and bytes where it has them.
_Counted = tuple[Durations, int]
_NOTHING: _Counted = (NONE, 0)


class Overflow:
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
        Where it raises, nothing has been added.
        """
        members, sums = alive | (self._members & ended), dict(self._sums)
        now = _counted(row for row in snapshot.rows() if row.vm in members)
        for (vm, kind), counted in now.items():
            before = self._last.get((vm, kind), _NOTHING)
            sums[kind] = _plus(sums.get(kind, _NOTHING), counted, before)
        self._members, self._sums, self._last = members, sums, now
        merged: dict[str, Any] = {
            kind: self._merged(getattr(snapshot, kind), of) for kind, of in KINDS.items()
        }
        return replace(snapshot, broken=self._broken(snapshot.broken, alive), **merged)

    def _merged(self, rows: Iterable[Row], of: type[Row]) -> tuple[Row, ...]:
        own = [row for row in rows if row.vm not in self._members]
        sums = (_with(kind, *counted) for kind, counted in self._sums.items())
        return (*own, *(row for row in sums if isinstance(row, of)))

    def _broken(self, broken: Mapping[VmKey, int], alive: Set[VmKey]) -> dict[VmKey, int]:
        """A gauge: of VMs that run."""
        own = {vm: count for vm, count in broken.items() if vm not in self._members}
        return own | {KEY: sum(broken.get(vm, 0) for vm in alive)}


def _plus(so_far: _Counted, now: _Counted, before: _Counted) -> _Counted:
    """Add what came since the last look; all of it where the kernel began anew."""
    if now == before:
        return so_far
    came = difference(now[0], before[0])
    size_bytes = now[1] if came is now[0] else now[1] - before[1]
    return total([so_far[0], came]), so_far[1] + size_bytes


def _counted(rows: Iterable[Row]) -> dict[tuple[VmKey, Row], _Counted]:
    """What is counted of each VM in each kind; rows may be alike."""
    alike: dict[tuple[VmKey, Row], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.vm, _kind(row)), []).append(row)
    return {
        key: (total(row.durations for row in several), sum(map(_size_bytes, several)))
        for key, several in alike.items()
    }


def _size_bytes(row: Row) -> int:
    return row.size_bytes if isinstance(row, ShadowUnmaps) else 0


def _kind(row: Row) -> Row:
    """What a row counts, apart from whose and how many."""
    return _with(replace(row, vm=KEY), NONE, 0)


def _with(row: Row, durations: Durations, size_bytes: int) -> Row:
    if isinstance(row, ShadowUnmaps):
        return replace(row, durations=durations, size_bytes=size_bytes)
    return replace(row, durations=durations)
