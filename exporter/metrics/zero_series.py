"""Series that start at 0: rows without calls, for all that a VM can do and has not done yet.

A rate() knows nothing of what a series begins with: where a VM's first unmaps make its series,
they are in no rate, and they may well be its worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from nvscope.exporter.metrics.families import FALLBACKS
from nvscope.probes.counts.durations import NONE
from nvscope.probes.counts.snapshot import (
    Attachment,
    NotifierUnmaps,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)


def attached(attachments: Iterable[Attachment]) -> frozenset[str]:
    """The probe points that are."""
    return frozenset(each.point for each in attachments if each.mechanism)


def filled(snapshot: Snapshot, vms: Set[VmKey], points: Set[str], revmap: str) -> Snapshot:
    """Return the snapshot with a row of nothing for what these VMs have not done yet.

    Unmaps of shadow stage 2s only for those that have one. points: those attached, for what is
    not looked at is not 0; revmap: the host's.
    """
    if "notifier_unmap" not in points:
        return snapshot
    done = {row.vm for row in snapshot.notifier_unmaps}
    unmaps = (*snapshot.notifier_unmaps, *(NotifierUnmaps(vm, NONE) for vm in vms - done))
    snapshot = replace(snapshot, notifier_unmaps=unmaps)
    nested = _nested(snapshot) & vms
    if "shadow_unmap" not in points or not nested:
        return snapshot
    shadow = (*snapshot.shadow_unmaps, *_shadow_unmaps(snapshot, nested, revmap))
    faults = snapshot.s2_faults
    if "s2_fault" in points:
        faults = (*faults, *_refaults(snapshot, nested))
    return replace(snapshot, shadow_unmaps=shadow, s2_faults=faults)


def _nested(snapshot: Snapshot) -> set[VmKey]:
    """The VMs with shadow stage 2s, as far as anything is counted of these."""
    unmapped = {row.vm for row in snapshot.shadow_unmaps}
    recorded = {row.vm for row in snapshot.revmap_records}
    return unmapped | recorded | {row.vm for row in snapshot.s2_faults if row.stage == "shadow"}


def _shadow_unmaps(snapshot: Snapshot, vms: Set[VmKey], revmap: str) -> Iterator[ShadowUnmaps]:
    """Those in notifier unmaps, full and, with a reverse map or maybe one, ranged."""
    kinds = [("full", "none")]
    if revmap == "unknown":
        kinds += [("ranged", "none")]
    elif revmap != "none":
        kinds = [("ranged", "none"), *(("full", reason) for reason in FALLBACKS)]
    done = {(r.vm, r.scope, r.reason) for r in snapshot.shadow_unmaps if r.within == "notifier"}
    for vm in vms:
        for scope, reason in kinds:
            if (vm, scope, reason) not in done:
                yield ShadowUnmaps(vm, scope, "notifier", 0, NONE, reason)


def _refaults(snapshot: Snapshot, vms: Set[VmKey]) -> Iterator[S2Faults]:
    done = {row.vm for row in snapshot.s2_faults if row.refault}
    for vm in vms - done:
        yield S2Faults(vm, "shadow", "ok", NONE, refault=True)
