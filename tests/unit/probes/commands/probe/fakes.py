"""A source whose snapshots a test scripts, and a host, for probe and top."""

from __future__ import annotations

from dataclasses import dataclass, field

from nvscope.probes.counts.snapshot import (
    Durations,
    NotifierUnmaps,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)
from nvscope.probes.kernel.features import Host
from tests.unit.exporter.fakes import durations

ALPHA, BETA = VmKey(0xFFFF0001, 77), VmKey(0xFFFF0002, 88)
HOST = Host("aarch64", "7.3.4", True, True, "maple", frozenset(), "none")


def calls(ns: int, count: int = 1) -> Durations:
    """So many calls of that duration."""
    return durations({ns.bit_length(): count}, ns * count)


@dataclass
class Script:
    """Returns its snapshots one after another, the last one for ever."""

    snapshots: list[Snapshot]
    forgotten: list[VmKey] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]

    def forget(self, vm: VmKey) -> None:
        self.forgotten.append(vm)


def unmaps(*rows: tuple[VmKey, Durations, str], **lost: int) -> Snapshot:
    """A snapshot of notifier unmaps: VM, durations, trigger."""
    return Snapshot(tuple(NotifierUnmaps(*row) for row in rows), lost=lost)


def busy(vm: VmKey, n: int) -> Snapshot:
    """n notifier unmaps, each of a page, n/2 of them whole shadow stage 2s, n refaults."""
    return Snapshot(
        (NotifierUnmaps(vm, calls(1_000_000, n)),),
        (
            S2Faults(vm, "shadow", "ok", calls(10_000, n), refault=True),
            S2Faults(vm, "canonical", "ok", calls(5_000, n)),
        ),
        (
            ShadowUnmaps(vm, "full", "notifier", 0, calls(500_000, n // 2), "broken"),
            ShadowUnmaps(vm, "ranged", "notifier", 0, calls(5_000, n - n // 2)),
            ShadowUnmaps(vm, "full", "recycling", 0, calls(500_000, 7)),
        ),
        lost={"vm_full": 0},
    )
