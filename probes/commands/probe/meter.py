"""What a probe has measured, by groups of calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from nvscope.probes.commands.probe.kinds import Kind
from nvscope.probes.counts import durations
from nvscope.probes.counts.snapshot import Durations, Snapshot, VmKey
from nvscope.probes.vms.changes import Changes, SnapshotSource
from nvscope.probes.vms.names_seen import VmNames, matches

# Values of the axes asked for, in their order -> durations.
Groups = dict[tuple[str, ...], Durations]


@dataclass(frozen=True)
class Asked:
    """What a probe is to measure. by: axes; vms: names, uuids or pids, none: all."""

    kind: Kind
    by: tuple[str, ...] = ("vm",)
    vms: tuple[str, ...] = ()


@dataclass
class Interval:
    """What came in some time. seconds: its length; lost: cause -> events, at 0 too."""

    seconds: float = 0.0
    groups: Groups = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def add(self, other: Interval) -> None:
        """Append what came next."""
        self.seconds += other.seconds
        for cause, n in other.lost.items():
            self.lost[cause] = self.lost.get(cause, 0) + n
        for labels, more in other.groups.items():
            self.count(labels, more)

    def count(self, labels: tuple[str, ...], more: Durations) -> None:
        """Add calls to a group."""
        known = self.groups.get(labels, durations.NONE)
        self.groups[labels] = durations.total((known, more))


class Meter:
    """Measures from now on. total: all intervals so far. Not for two threads."""

    def __init__(
        self, source: SnapshotSource, asked: Asked, revmap: str, names: VmNames | None = None
    ) -> None:
        self.asked = asked
        self.total = Interval()
        self._revmap = revmap
        self._changes = Changes(source, self._cells, names)
        self.names = self._changes.names

    def step(self) -> Interval:
        """What came since the last step."""
        change = self._changes.look()
        axes = self.asked.kind.axes
        new = Interval(change.seconds, {}, dict(change.lost))
        for vm, labels, more in change.counted:
            if matches(vm, self.asked.vms):
                known = dict(zip(("vm", *axes), (vm.label, *labels), strict=True))
                new.count(tuple(known[axis] for axis in self.asked.by), more)
        self.total.add(new)
        return new

    def _cells(self, snapshot: Snapshot) -> dict[tuple[VmKey, tuple[str, ...]], Durations]:
        kind = self.asked.kind
        cells: dict[tuple[VmKey, tuple[str, ...]], Durations] = {}
        for vm, labels, counted in kind.rows(snapshot, self._revmap):
            cell = vm, tuple(labels[axis] for axis in kind.axes)
            cells[cell] = durations.total((cells.get(cell, durations.NONE), counted))
        return cells
