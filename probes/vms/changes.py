"""Differences of snapshots: what the kernel has counted since the last look, and of which VM."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from nvscope.probes.counts.durations import NONE, difference
from nvscope.probes.counts.snapshot import Durations, Snapshot, VmKey
from nvscope.probes.vms.identity import Vm
from nvscope.probes.vms.names_seen import VmNames

# A VM and what of it -> all that was counted so far.
Cells = Mapping[tuple[VmKey, tuple[str, ...]], Durations]


class SnapshotSource(Protocol):
    """What is looked at: probes.points.loader.Loaded."""

    def snapshot(self) -> Snapshot: ...

    def forget(self, vm: VmKey) -> None: ...


@dataclass(frozen=True)
class Change:
    """What came between two looks. seconds: between them; counted: VM, what of it, durations;
    alive: the VMs that have counters and have not ended; lost: cause -> events, at 0 too.
    """

    seconds: float
    counted: tuple[tuple[Vm, tuple[str, ...], Durations], ...]
    alive: tuple[Vm, ...]
    lost: Mapping[str, int]


class Changes:
    """Looks at a source again and again; the first look is made here.

    A VM's counts go to who it was then: they are not taken for those of a later one with the same
    pid. Not for two threads.
    """

    def __init__(
        self,
        source: SnapshotSource,
        cells: Callable[[Snapshot], Cells],
        names: VmNames | None = None,
    ) -> None:
        self.names = names or VmNames()
        self._source = source
        self._read = cells
        self._ended: set[VmKey] = set()
        first = source.snapshot()
        self._began = time.monotonic()
        self._cells, self._lost = dict(cells(first)), dict(first.lost)
        self.names.refresh({vm for vm, _ in self._cells})

    def look(self) -> Change:
        """What came since the last look."""
        snapshot = self._source.snapshot()
        now, cells, lost = time.monotonic(), dict(self._read(snapshot)), dict(snapshot.lost)
        keys = {vm for vm, _ in cells}
        ended = self.names.refresh(keys)
        counted = (
            (self.names[cell[0]], cell[1], difference(durations, self._cells.get(cell, NONE)))
            for cell, durations in cells.items()
        )
        change = Change(
            now - self._began,
            tuple(each for each in counted if each[2].count),
            tuple(self.names[key] for key in keys - ended),
            {cause: max(0, n - self._lost.get(cause, 0)) for cause, n in lost.items()},
        )
        self._cells, self._lost, self._began = cells, lost, now
        self._forget(ended)
        return change

    def _forget(self, ended: set[VmKey]) -> None:
        """Make room. Not at once: what came between the snapshot and the end is read next time."""
        for vm in ended & self._ended:
            self._source.forget(vm)
        self._cells = {c: n for c, n in self._cells.items() if c[0] not in ended & self._ended}
        self._ended = ended
