"""Metrics of the probes and of the exporter itself, as metric families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from nvscope.exporter.metrics.families import counter
from nvscope.exporter.metrics.histogram import seconds
from nvscope.probes.counts.snapshot import Attachment, Room, Runs


def up(works: bool) -> Metric:
    """Return whether this page has all counts."""
    return GaugeMetricFamily(
        "nvscope_up", "1 if this scrape could read the probes' counts, else 0.", value=works
    )


def gathered(duration_seconds: float) -> Metric:
    """Return how long the page took, but for putting it into words."""
    return GaugeMetricFamily(
        "nvscope_gather_duration_seconds",
        "Time it took to read the kernel's maps and /proc for this page.",
        value=duration_seconds,
    )


def maps(room: Mapping[str, Room]) -> Iterator[Metric]:
    """Yield how full the kernel's maps are: events that find no room are lost."""
    entries = GaugeMetricFamily(
        "nvscope_map_entries", "Entries of a BPF map that are in use.", labels=("map",)
    )
    capacity = GaugeMetricFamily(
        "nvscope_map_capacity", "Entries that a BPF map has room for.", labels=("map",)
    )
    for name, one in room.items():
        entries.add_metric((name,), one.used)
        capacity.add_metric((name,), one.capacity)
    yield entries
    yield capacity


def programs(runs: Mapping[str, Runs]) -> Iterator[Metric]:
    """Yield what the programs cost, where the kernel keeps count (kernel.bpf_stats_enabled)."""
    counted = {name: one for name, one in runs.items() if one.count}
    if not counted:
        return
    yield counter(
        "nvscope_program_runs",
        "Runs of a BPF program while kernel.bpf_stats_enabled was 1.",
        ("program",),
        (((name,), one.count) for name, one in counted.items()),
    )
    yield counter(
        "nvscope_program_run_seconds",
        "Time of these runs.",
        ("program",),
        (((name,), seconds(one.time_ns)) for name, one in counted.items()),
    )


def vm_count(own: int, other: int) -> Metric:
    """Return the VMs alive: with series of their own, and those in vm="other"."""
    family = GaugeMetricFamily(
        "nvscope_vms",
        'VMs alive; series: of their own, or those of vm="other".',
        labels=("series",),
    )
    family.add_metric(("own",), own)
    family.add_metric(("other",), other)
    return family


def vm_events(started: int, ended: int) -> Metric:
    """Return how many VMs were seen to begin and to end."""
    rows = ((("started",), started), (("ended",), ended))
    return counter(
        "nvscope_vm_events", "VMs that were seen first, and that ended.", ("kind",), rows
    )


def process_events(source: str, sources: Iterable[str], lost: int) -> Iterator[Metric]:
    """Yield how ends of processes are heard of, and how often some were not; source: the one."""
    family = GaugeMetricFamily(
        "nvscope_process_events_source",
        "1 for how the exporter learns that a VM's process has ended; scrape: not before it.",
        labels=("source",),
    )
    for each in sources:
        family.add_metric((each,), each == source)
    yield family
    yield CounterMetricFamily(
        "nvscope_process_events_lost",
        "Times that ends of processes may have been missed, and all VMs were looked at instead.",
        value=lost,
    )


def attached(attachments: Iterable[Attachment]) -> Metric:
    """Return one row per probe point and hook: 1 where it is attached, 0 where it is not.

    includes: "" where durations are those of the hook of choice, else what they include besides.
    """
    family = GaugeMetricFamily(
        "nvscope_probe_attached",
        "1 if the probe point is attached to the hook, 0 if it could not be.",
        labels=("probe", "hook", "mechanism", "includes"),
    )
    rows = {
        (a.point, a.hook, a.mechanism, a.includes): float(a.mechanism != "") for a in attachments
    }
    for labels, value in rows.items():
        family.add_metric(labels, value)
    return family


def events_lost(lost: Mapping[str, int]) -> Metric:
    """Return a row for each cause, at 0 too."""
    return counter(
        "nvscope_events_lost",
        "Events that happened and are missing from the other metrics.",
        ("cause",),
        (((cause,), count) for cause, count in lost.items()),
    )


def info(name: str, text: str, values: Mapping[str, str]) -> Metric:
    """Return the metric `name`_info: always 1, with values as its labels."""
    return InfoMetricFamily(name, text, value=dict(values))
