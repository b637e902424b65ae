"""The probes that there are: what each measures, and what its calls can be told apart by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nvscope.probes.counts.snapshot import Durations, Snapshot, VmKey
from nvscope.probes.points.catalog.points import BY_NAME

# VM, what of it (axis -> value), how long it took.
Row = tuple[VmKey, Mapping[str, str], Durations]


@dataclass(frozen=True)
class Kind:
    """A one-shot probe.

    name: of its probe point; text: what a call is; axes: what calls can be told apart by, beside
    the VM; rows: a snapshot and the host's reverse map -> what was counted of them; points: what is
    attached in any case; marks: axis -> what more is, to tell calls apart by it.
    """

    name: str
    text: str
    axes: tuple[str, ...]
    rows: Callable[[Snapshot, str], Iterable[Row]]
    points: tuple[str, ...]
    marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def attached(self, axes: Iterable[str]) -> tuple[str, ...]:
        """The points that are needed to tell calls apart by these axes."""
        more = (point for axis in axes for point in self.marks.get(axis, ()))
        return tuple(dict.fromkeys((*self.points, *more)))

    @property
    def possible(self) -> tuple[str, ...]:
        """All points that it may attach."""
        points = self.attached(self.axes)
        hooks = (hook for point in points for hook in BY_NAME[point].hooks)
        helpers = (name for hook in hooks for name in (*hook.needs, *hook.needs_traced))
        return tuple(dict.fromkeys((*points, *helpers)))


def _notifier_unmaps(snapshot: Snapshot, _: str) -> Iterable[Row]:
    for row in snapshot.notifier_unmaps:
        yield row.vm, {"trigger": row.trigger}, row.durations


def _s2_faults(snapshot: Snapshot, _: str) -> Iterable[Row]:
    for row in snapshot.s2_faults:
        yield row.vm, {"stage": row.stage, "result": row.result}, row.durations


def _shadow_unmaps(snapshot: Snapshot, revmap: str) -> Iterable[Row]:
    for row in snapshot.shadow_unmaps:
        labels = {
            "scope": row.scope,
            "within": row.within,
            "reason": row.why_full(revmap),
            "trigger": row.trigger,
        }
        yield row.vm, labels, row.durations


def _revmap_records(snapshot: Snapshot, _: str) -> Iterable[Row]:
    for row in snapshot.revmap_records:
        yield row.vm, {"outcome": row.outcome}, row.durations


_TRIGGER = {"trigger": ("numa_scan",)}
_WITHIN = ("notifier_unmap", "tlbi_vmid", "tlbi_all", "mmu_recycle")
_REASON = ("notifier_unmap", "revmap_record", "revmap_broken", "revmap_fallback", "mmu_free")

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "notifier_unmap",
            "the MMU notifier takes a range back, or guest_memfd is invalidated",
            ("trigger",),
            _notifier_unmaps,
            ("notifier_unmap",),
            _TRIGGER,
        ),
        # mmu_free: what is kept of each shadow MMU goes with it.
        Kind(
            "s2_fault",
            "a stage-2 fault is handled",
            ("stage", "result"),
            _s2_faults,
            ("s2_fault", "mmu_free"),
        ),
        Kind(
            "shadow_unmap",
            "a shadow stage 2 is unmapped, whole or in part",
            ("scope", "within", "reason", "trigger"),
            _shadow_unmaps,
            ("shadow_unmap",),
            {"within": _WITHIN, "reason": _REASON} | _TRIGGER,
        ),
        Kind(
            "revmap_record",
            "a shadow mapping is noted in the reverse map",
            ("outcome",),
            _revmap_records,
            ("revmap_record", "mmu_free"),
        ),
    )
}

AXES = ("vm", *dict.fromkeys(axis for kind in KINDS.values() for axis in kind.axes))
