"""A snapshot as metric families: names, labels and help texts, each in one place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric

from nvscope.exporter.metrics.histogram import Histograms, seconds
from nvscope.probes.counts.durations import total
from nvscope.probes.counts.snapshot import Durations, S2Faults, ShadowUnmaps, Snapshot, VmKey
from nvscope.probes.vms.identity import Vm

Labels = tuple[str, ...]
Vms = Mapping[VmKey, Vm]

# The reasons that are shown at 0 too; "unknown" only where it is seen.
FALLBACKS = ("broken", "unknown_ipa", "raced")


def vm_metrics(
    snapshot: Snapshot, vms: Vms, revmap: str, points: Set[str] = frozenset()
) -> Iterator[Metric]:
    """Yield all that is counted per VM, for the VMs in vms.

    revmap: as of features.Host; points: the probe points that are attached, which say of an unknown
    map what of it can be seen.
    """
    yield _vm_info(vms)
    yield _histogram(
        "nvscope_notifier_unmap_duration_seconds",
        "Time to unmap a range from a VM and its shadow stage 2s, by a notifier or guest_memfd.",
        ("vm",),
        (
            ((vms[row.vm].label,), row.durations)
            for row in snapshot.notifier_unmaps
            if row.vm in vms
        ),
    )
    yield from _faults([row for row in snapshot.s2_faults if row.vm in vms], vms)
    yield from _shadow_unmaps([row for row in snapshot.shadow_unmaps if row.vm in vms], vms, revmap)
    families = _REVERSE_MAP if revmap != "none" else {}
    for point, family in families.items():
        if revmap != "unknown" or point in points:
            yield family(snapshot, vms)


def _faults(rows: Sequence[S2Faults], vms: Vms) -> Iterator[Metric]:
    yield _histogram(
        "nvscope_s2_fault_duration_seconds",
        "Time KVM took to handle a stage-2 fault, in the canonical or a shadow stage 2.",
        ("vm", "stage", "result"),
        (((vms[row.vm].label, row.stage, row.result), row.durations) for row in rows),
    )
    refaults = [row for row in rows if row.refault]
    yield counter(
        "nvscope_refaults",
        "Shadow faults that bring back what notifier unmaps took; at most so many.",
        ("vm",),
        (((vms[row.vm].label,), _calls(row.durations)) for row in refaults),
    )
    yield counter(
        "nvscope_refault_seconds",
        "Time of these faults.",
        ("vm",),
        (((vms[row.vm].label,), seconds(row.durations.sum_ns)) for row in refaults),
    )


def _shadow_unmaps(rows: Sequence[ShadowUnmaps], vms: Vms, revmap: str) -> Iterator[Metric]:
    yield _histogram(
        "nvscope_shadow_unmap_duration_seconds",
        "Time it took to unmap a shadow stage 2, the whole of it or a range.",
        ("vm", "scope"),
        (((vms[row.vm].label, row.scope), row.durations) for row in rows),
    )
    yield counter(
        "nvscope_shadow_unmaps",
        "Unmaps of a shadow stage 2; reason: why a notifier unmap threw away the whole of it.",
        ("vm", "scope", "within", "reason"),
        (
            (
                (vms[row.vm].label, row.scope, row.within, row.why_full(revmap)),
                _calls(row.durations),
            )
            for row in rows
        ),
    )
    yield counter(
        "nvscope_shadow_unmapped_bytes",
        "Nested IPA space asked to be unmapped; a full unmap asks for all of it, mapped or not.",
        ("vm",),
        (((vms[row.vm].label,), row.size_bytes) for row in rows),
    )


def _fallbacks(snapshot: Snapshot, vms: Vms) -> Metric:
    """Of each VM, at 0 too."""
    none = (((vm.label, why), 0) for vm in vms.values() for why in FALLBACKS)
    fallbacks = (
        ((vms[row.vm].label, row.reason), _calls(row.durations))
        for row in snapshot.shadow_unmaps
        if row.vm in vms and row.reason != "none"
    )
    return counter(
        "nvscope_fallbacks",
        "Notifier unmaps of a whole shadow stage 2 although there is a reverse map, by reason.",
        ("vm", "reason"),
        itertools.chain(none, fallbacks),
    )


def _records(snapshot: Snapshot, vms: Vms) -> Metric:
    return counter(
        "nvscope_revmap_records",
        "Shadow mappings noted in a reverse map; outcome: what became of it.",
        ("vm", "outcome"),
        (
            ((vms[row.vm].label, row.outcome), row.count)
            for row in snapshot.revmap_records
            if row.vm in vms
        ),
    )


def _broken(snapshot: Snapshot, vms: Vms) -> Metric:
    """Of each VM, at 0 too."""
    broken = GaugeMetricFamily(
        "nvscope_revmap_broken",
        "Shadow stage 2s whose reverse map is broken now: their next notifier unmap is a fallback.",
        labels=("vm",),
    )
    for key, vm in vms.items():
        broken.add_metric((vm.label,), snapshot.broken.get(key, 0))
    return broken


# What only a kernel with a reverse map has, by the point that shows it.
_REVERSE_MAP: Mapping[str, Callable[[Snapshot, Vms], Metric]] = {
    "revmap_fallback": _fallbacks,
    "revmap_record": _records,
    "revmap_broken": _broken,
}


def _vm_info(vms: Vms) -> Metric:
    family = InfoMetricFamily(
        "nvscope_vm", "VMs that have series; join on vm.", labels=("vm", "uuid", "pid", "vcpus")
    )
    for vm in vms.values():
        vcpus = "" if vm.vcpus is None else str(vm.vcpus)
        family.add_metric((vm.label, vm.uuid, str(vm.pid or ""), vcpus), {})
    return family


def _calls(durations: Durations) -> int:
    """Not durations.count: the histogram of the same calls shows the sum of the slots."""
    return sum(durations.slots)


def _histogram(
    name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, Durations]]
) -> Metric:
    """A histogram; rows with the same labels are added up (a second series would be invalid)."""
    family = Histograms(name, text, labels)
    grouped: dict[Labels, list[Durations]] = {}
    for values, durations in rows:
        grouped.setdefault(values, []).append(durations)
    for values, several in grouped.items():
        one = several[0] if len(several) == 1 else total(several)
        family.add(values, one.slots, one.sum_ns)
    return family


def counter(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, float]]) -> Metric:
    """A counter, name without _total; rows with the same labels are added up."""
    family = CounterMetricFamily(name, text, labels=labels)
    grouped: dict[Labels, float] = {}
    for values, value in rows:
        grouped[values] = grouped.get(values, 0) + value
    for values, value in grouped.items():
        family.add_metric(values, value)
    return family
