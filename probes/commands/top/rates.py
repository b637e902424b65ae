"""What each VM's unmaps and refaults cost, a second: the rows of `nvscope top`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nvscope.probes.counts.durations import NONE, total
from nvscope.probes.counts.snapshot import Durations, Snapshot, VmKey
from nvscope.probes.vms.changes import Change
from nvscope.probes.vms.identity import Vm

NS_PER_SECOND = 1_000_000_000


@dataclass
class Rates:
    """One VM; all but the name is per second.

    unmaps: notifier unmaps; full, ranged: unmaps of shadow stage 2s in them; fallbacks: why the
    full ones were -> how many; locked_seconds: time in notifier unmaps, under mmu_lock; refaults,
    refault_seconds: shadow faults that bring back what notifier unmaps took, and their time.
    """

    vm: Vm
    unmaps: float = 0.0
    full: float = 0.0
    ranged: float = 0.0
    fallbacks: dict[str, float] = field(default_factory=dict)
    locked_seconds: float = 0.0
    refaults: float = 0.0
    refault_seconds: float = 0.0

    @property
    def full_share(self) -> float | None:
        """Of the shadow unmaps in notifier unmaps, how many were full; None: there were none."""
        both = self.full + self.ranged
        return self.full / both if both else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "vm": self.vm.label,
            "uuid": self.vm.uuid,
            "pid": self.vm.pid,
            "unmaps_per_second": self.unmaps,
            "full_per_second": self.full,
            "ranged_per_second": self.ranged,
            "full_share": self.full_share,
            "fallbacks_per_second": self.fallbacks,
            "locked_seconds_per_second": self.locked_seconds,
            "refaults_per_second": self.refaults,
            "refault_seconds_per_second": self.refault_seconds,
        }


# What rows can be sorted by -> what is compared.
SORTS: Mapping[str, Callable[[Rates], float | str]] = {
    "locked": lambda rates: rates.locked_seconds,
    "unmaps": lambda rates: rates.unmaps,
    "full": lambda rates: rates.full_share or 0.0,
    "refaults": lambda rates: rates.refault_seconds,
    "vm": lambda rates: rates.vm.label,
}


def cells(revmap: str) -> Callable[[Snapshot], dict[tuple[VmKey, tuple[str, ...]], Durations]]:
    """What of a snapshot the rates are made of; revmap: the host's."""

    def read(snapshot: Snapshot) -> dict[tuple[VmKey, tuple[str, ...]], Durations]:
        found: dict[tuple[VmKey, tuple[str, ...]], Durations] = {}

        def add(vm: VmKey, labels: tuple[str, ...], durations: Durations) -> None:
            found[vm, labels] = total((found.get((vm, labels), NONE), durations))

        for unmaps in snapshot.notifier_unmaps:
            add(unmaps.vm, ("notifier",), unmaps.durations)
        for faults in snapshot.s2_faults:
            add(faults.vm, ("refault" if faults.refault else "fault",), faults.durations)
        for shadow in snapshot.shadow_unmaps:
            within = shadow.within == "notifier"
            labels = (shadow.scope, shadow.why_full(revmap)) if within else ("elsewhere",)
            add(shadow.vm, labels, shadow.durations)
        return found

    return read


def rates(change: Change) -> list[Rates]:
    """A row for each VM that has counters, at 0 too; ordered by name."""
    rows = {vm: Rates(vm) for vm in change.alive}
    for vm, labels, durations in change.counted:
        row = rows.setdefault(vm, Rates(vm))
        per_second = durations.count / change.seconds
        seconds = durations.sum_ns / NS_PER_SECOND / change.seconds
        if labels[0] == "notifier":
            row.unmaps, row.locked_seconds = per_second, seconds
        elif labels[0] == "refault":
            row.refaults, row.refault_seconds = per_second, seconds
        elif labels[0] == "ranged":
            row.ranged += per_second
        elif labels[0] == "full":
            row.full += per_second
            row.fallbacks[labels[1]] = per_second
    return sorted(rows.values(), key=lambda row: row.vm.label)


def chosen(rows: Iterable[Rates], wanted: str) -> list[Rates]:
    """Those whose name, uuid or pid contains a text; case does not matter."""
    text = wanted.casefold()
    return [
        row
        for row in rows
        if any(text in each.casefold() for each in (row.vm.label, row.vm.uuid, str(row.vm.pid)))
    ]


def ordered(rows: Iterable[Rates], sort: str, reverse: bool) -> list[Rates]:
    """The largest first, names from a to z; the other way round with reverse."""
    by_name = sorted(rows, key=lambda row: row.vm.label)
    return sorted(by_name, key=SORTS[sort], reverse=(sort != "vm") != reverse)
