"""All metrics of the exporter, gathered in one pass per scrape."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import nvscope
from nvscope.exporter.metrics import families, self_metrics, zero_series
from nvscope.exporter.vms import overflow
from nvscope.exporter.vms.exits import SOURCES, ExitWatcher
from nvscope.exporter.vms.liveness import Liveness
from nvscope.probes.counts.decode import LABELS
from nvscope.probes.counts.pools import SHARES
from nvscope.probes.counts.snapshot import Attachment, Snapshot, VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.vms.exits.procevents import Way
from nvscope.probes.vms.identity import OTHER, Process, Vm

# The label's value; None: KVM could not be asked.
_NV2 = {True: "true", False: "false", None: "unknown"}

log = logging.getLogger(__name__)


class CountsSource(Protocol):
    """Where the counts come from: loader.Loaded, pins.pinned.Pinned, or a fake."""

    @property
    def attachments(self) -> tuple[Attachment, ...]: ...

    @property
    def host(self) -> Host | None:
        """None: nobody has told yet."""

    def snapshot(self) -> Snapshot:
        """Return all counters now; lost holds every cause known, at 0 too."""

    def forget(self, vm: VmKey) -> None:
        """Drop what is counted for a VM that has ended."""


class Host(Protocol):
    """What the host is: probes.kernel.features.Host, probes.pins.about.Host, or a fake."""

    @property
    def kernel(self) -> str: ...

    @property
    def nv2(self) -> bool | None: ...

    @property
    def revmap(self) -> str: ...


def spare_collections() -> None:
    """Let Python look for garbage in cycles less often: a page of 1,000 VMs is a million small
    objects that go by themselves, and looking through them takes a fifth of its time.
    """
    gc.set_threshold(100_000, 50, 50)


class VmCollector(Collector):
    """Renders a source's snapshot; one scrape at a time, whatever the number of threads."""

    def __init__(self, source: CountsSource, max_series_vms: int | None = None) -> None:
        """max_series_vms: VMs with series of their own at a time; those past it are added up.
        None: as many as the kernel's map has room for, with all rows that they can have.
        """
        self._source = source
        self._bounded = max_series_vms is not None
        self._liveness = Liveness(max_series_vms)
        self._overflow = overflow.Overflow()
        self._past: set[VmKey] = set()
        self._exits = ExitWatcher(None, self._ended)
        self._failure = ""  # the cause that has been logged
        self._lock = threading.Lock()

    def set_bound(self, max_series_vms: int) -> None:
        """Another bound, for VMs from now on: those that have series of their own keep them."""
        with self._lock:
            self._bounded = True
            self._liveness.set_bound(max_series_vms)

    @contextlib.contextmanager
    def hearing(self, way: Way | None) -> Iterator[None]:
        """Hear processes end as well, and not only at a scrape."""
        with self._lock:
            self._exits = ExitWatcher(way, self._ended)
        with self._exits:
            yield

    def collect(self) -> list[Metric]:
        """Return all families, complete before the first is shown.

        When the counts cannot be read, nvscope_up is 0 and all that comes from them is absent:
        a page with some of the VMs would pass for all of them. Each cause is logged once.
        """
        with self._lock:
            began = time.monotonic()
            counts = self._counts()
            took = self_metrics.gathered(time.monotonic() - began)
            return [self_metrics.up(counts is not None), took, *self._standing(), *(counts or ())]

    def _counts(self) -> list[Metric] | None:
        try:
            counts = list(self._read())
        except Exception as error:  # noqa: BLE001 (whatever it is, the scrape has to say so)
            if repr(error) != self._failure:
                _log(error)
            self._failure = repr(error)
            return None
        if self._failure:
            log.warning("the counts can be read; nvscope_up is 1")
        self._failure = ""
        return counts

    def _read(self) -> Iterator[Metric]:
        snapshot = self._source.snapshot()
        if not self._bounded and (rows := snapshot.room.get("rows")):
            self._liveness.set_bound(rows.capacity // (SHARES * len(LABELS)))
        counts = _all_calls(snapshot)
        vms = self._liveness.look(counts)
        self._past = past = {key for key, vm in vms.items() if vm is OTHER}
        folded = self._overflow.fold(snapshot, past, self._liveness.hidden())
        # Only after what is read has been added up: the kernel's rows go now.
        for ended in counts.keys() - vms.keys():
            self._source.forget(ended)
        self._exits.watch(self._liveness.processes())
        shown = {key: vm for key, vm in vms.items() if key not in past} | self._other()
        host = self._source.host
        revmap = host.revmap if host else "none"
        points = zero_series.attached(self._source.attachments)
        whole = zero_series.filled(folded, shown.keys(), points, revmap)
        yield from families.vm_metrics(whole, shown, revmap, points)
        yield self_metrics.vm_count(len(vms) - len(past), len(past))
        yield self_metrics.vm_events(self._liveness.started, self._liveness.ended)
        yield from self_metrics.process_events(self._exits.name, SOURCES, self._exits.lost)
        yield self_metrics.events_lost(snapshot.lost)
        yield from self_metrics.maps(snapshot.room)
        yield from self_metrics.programs(snapshot.runs)

    def _ended(self, process: Process) -> None:
        """Drop the counts before a later VM can have the same struct kvm and thread.

        Not of those that are added up: what they did last is still to be read.
        """
        with self._lock:
            for key in self._liveness.end(process) - self._past:
                self._source.forget(key)

    def _other(self) -> dict[VmKey, Vm]:
        """The VM that stands for those past the bound, from the first of them on."""
        return {overflow.KEY: OTHER} if self._overflow.used else {}

    def _standing(self) -> Iterator[Metric]:
        """What is true whether the counts can be read or not."""
        yield self_metrics.attached(self._source.attachments)
        if host := self._source.host:
            said = {"revmap": host.revmap, "nv2": _NV2[host.nv2], "kernel": host.kernel}
            yield self_metrics.info(
                "nvscope_host", "The host; revmap: its kernel's reverse map.", said
            )
        build = {"version": nvscope.__version__}
        yield self_metrics.info("nvscope_build", "The version of nvscope.", build)


def _log(error: Exception) -> None:
    """What a user can mend is one line, as everywhere; all else is ours to find."""
    if isinstance(error, LackError):
        log.error("%s; nvscope_up is 0 until then", error.message)
    else:
        log.error("cannot read the counts; nvscope_up is 0 until that works", exc_info=error)


def _all_calls(snapshot: Snapshot) -> dict[VmKey, int]:
    """VM -> all calls counted of it."""
    counts = dict.fromkeys(snapshot.broken, 0)
    for row in snapshot.rows():
        counts[row.vm] = counts.get(row.vm, 0) + row.durations.count
    return counts
