"""What a fleet of hosts costs Prometheus: `.venv/bin/python -m bench.fleet`.

Simulated hosts, whose counts grow, are rendered by the exporter's own code and served from one
address; Debian's Prometheus scrapes them and evaluates our rules. Several hosts share a page.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.connections import listen, server
from nvscope.exporter.web.message import Answer, Application, Request
from nvscope.exporter.web.threads import in_thread
from nvscope.lab.host.services import Metrics
from nvscope.lab.processes.prometheus import Prometheus, Target, config
from nvscope.lab.setup.prometheus import unpack
from nvscope.probes.counts.decode import LOSSES
from nvscope.probes.counts.snapshot import (
    Attachment,
    NotifierUnmaps,
    RevmapRecords,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from tests.unit.exporter.fakes import FakeHost, FakeProc, FakeSource, durations

if TYPE_CHECKING:
    pass

HOSTS = 50
VMS = 20  # of each host
INTERVAL_SECONDS = 15
SECONDS = 45
# Different hosts; rendering costs Python more than scraping costs Prometheus, and that is measured.
KINDS = 5
CLUSTERS = ("east", "west")

RULES = [
    Path(__file__).resolve().parents[1] / "exporter/alerts" / name
    for name in ("alerts.yml", "recording.yml")
]
_ATTACHED = tuple(
    Attachment(name, BY_NAME[name].hooks[0].symbol, "fentry") for name in applicable("maple")
)


class GrowingSource(FakeSource):
    """A host's VMs, of which the nth does n notifier unmaps a second."""

    def __init__(self, vms: Sequence[VmKey]) -> None:
        super().__init__(attachments=_ATTACHED, host=FakeHost(revmap="maple"))
        self._vms = vms
        self._began = time.monotonic() - 3600  # it has been up for an hour

    def snapshot(self) -> Snapshot:
        """The counts by now."""
        seconds = time.monotonic() - self._began
        return _counts({vm: int(n * seconds) for n, vm in enumerate(self._vms, 1)})


def _counts(unmaps: dict[VmKey, int]) -> Snapshot:
    """VM -> its notifier unmaps, and what else goes with so many: a twentieth falls back."""
    fast, slow = 14, 20  # slots: 8 to 16 us, 0.5 to 1 ms
    spread = {
        vm: durations({fast: n - n // 20, slow: n // 20}, n * 60_000) for vm, n in unmaps.items()
    }
    full = {vm: durations({slow: n // 20}, n * 40_000) for vm, n in unmaps.items()}
    ranged = {vm: durations({fast: n - n // 20}, n * 10_000) for vm, n in unmaps.items()}
    return Snapshot(
        tuple(NotifierUnmaps(vm, spread[vm]) for vm in unmaps),
        tuple(
            S2Faults(vm, stage, "ok", spread[vm], refault)
            for vm in unmaps
            for stage, refault in (("canonical", False), ("shadow", False), ("shadow", True))
        ),
        tuple(
            ShadowUnmaps(vm, scope, within, 4096 * one[vm].count, one[vm], reason)
            for vm in unmaps
            for scope, within, reason, one in (
                ("full", "notifier", "raced", full),
                ("full", "tlbi", "none", full),
                ("ranged", "notifier", "none", ranged),
            )
        ),
        tuple(
            RevmapRecords(vm, outcome, durations({0: n}))
            for vm, n in unmaps.items()
            for outcome in ("stored", "unchanged")
        ),
        lost=dict.fromkeys(LOSSES, 0),
    )


class _Page:
    """The exposition of one kind of host, rendered anew when it is older than half an interval."""

    def __init__(self, vms: Sequence[VmKey]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(VmCollector(GrowingSource(vms)))
        self._lock = threading.Lock()
        self._rendered = 0.0
        self._text = b""

    def text(self) -> bytes:
        """The page, at most so old."""
        with self._lock:
            if time.monotonic() - self._rendered > INTERVAL_SECONDS / 2:
                self._text = generate_latest(self._registry)
                self._rendered = time.monotonic()
            return self._text


def _fleet(vms: int, proc: FakeProc) -> Application:
    """An application that serves the metrics of host N at /N/metrics."""
    pages = []
    for kind in range(KINDS):
        keys = [VmKey(number, 1000 * (kind + 1) + number) for number in range(vms)]
        for key in keys:
            proc.start(key.pid, b"qemu\0-name\0guest-%d\0" % key.kvm)
        pages.append(_Page(keys))

    async def app(request: Request) -> Answer:
        host = int(request.path.split("/")[1])
        return Answer((await in_thread(pages[host % KINDS].text),), CONTENT_TYPE_LATEST)

    return app


@contextlib.contextmanager
def served(hosts: int, vms: int) -> Iterator[list[Target]]:
    """Serve a fleet on loopback; yields the targets, of two clusters in turn."""
    before = psutil.PROCFS_PATH
    with tempfile.TemporaryDirectory() as folder, listen.listen("127.0.0.1", 0) as sock:
        proc = FakeProc(Path(folder) / "proc")
        http = server.Server(_fleet(vms, proc), [sock])
        psutil.PROCFS_PATH = str(proc.root)
        http.start()
        try:
            yield [
                Target(
                    f"127.0.0.1:{sock.getsockname()[1]}",
                    f"/{host}/metrics",
                    {"instance": f"host-{host}", "cluster": CLUSTERS[host % len(CLUSTERS)]},
                )
                for host in range(hosts)
            ]
        finally:
            http.stop()
            psutil.PROCFS_PATH = before


@dataclass(frozen=True)
class Cost:
    """What was measured. Durations are those of the last time, in seconds; memory in MiB.

    samples: of one scrape of all hosts; series: in Prometheus, rules' own included; recorded: those
    of rules; cpu_seconds: of Prometheus, a second.
    """

    samples: int
    series: int
    recorded: int
    slowest_scrape: float
    instance_rules: float
    cluster_rules: float
    alerts: float
    cpu_seconds: float
    memory_mib: float


def measure(prometheus: Prometheus, seconds: float) -> Cost:
    """Let it work for so long. Raises AssertionError where a scrape or a rule has failed."""
    before, began = own_metrics(prometheus), time.monotonic()
    time.sleep(seconds)
    after, took = own_metrics(prometheus), time.monotonic() - began
    for failure in (
        "prometheus_rule_evaluation_failures_total",
        "prometheus_rule_group_iterations_missed_total",
        "prometheus_target_scrapes_exceeded_sample_limit_total",
    ):
        assert after.sum(failure) == 0, failure
    durations_of = {
        sample.labels["rule_group"].rpartition(";")[2]: sample.value
        for sample in after.select("prometheus_rule_group_last_duration_seconds")
    }
    cpu = "process_cpu_seconds_total"
    return Cost(
        int(prometheus.value("sum(scrape_samples_scraped)")),
        int(after.sum("prometheus_tsdb_head_series")),
        int(prometheus.value('count({__name__=~"(instance|cluster)[a-z_]*:.+"})')),
        prometheus.value("max(scrape_duration_seconds)"),
        durations_of["nvscope-instance"],
        durations_of["nvscope-cluster"],
        durations_of["nvscope-exporter"] + durations_of["nvscope-nested"],
        (after.sum(cpu) - before.sum(cpu)) / took,
        after.sum("process_resident_memory_bytes") / 2**20,
    )


def own_metrics(prometheus: Prometheus) -> Metrics:
    """What a Prometheus says about itself."""
    with urllib.request.urlopen(f"{prometheus.url}/metrics", timeout=30) as response:
        return Metrics(response.read().decode())


@contextlib.contextmanager
def scraped(hosts: int, vms: int) -> Iterator[Prometheus]:
    """A fleet and a Prometheus that has scraped all of it at least once."""
    with (
        served(hosts, vms) as targets,
        Prometheus(unpack(), config(targets, RULES, INTERVAL_SECONDS)) as prometheus,
    ):
        up = "sum(nvscope_up)"
        prometheus.wait_for(lambda: prometheus.value(up) == hosts, "all hosts up", 60)
        yield prometheus


@click.command()
@click.option("--hosts", default=HOSTS, show_default=True)
@click.option("--vms", default=VMS, show_default=True, help="Of each host.")
@click.option("--seconds", default=SECONDS, show_default=True, help="To measure.")
def main(hosts: int, vms: int, seconds: int) -> None:
    """Serve a simulated fleet, scrape it with Debian's Prometheus, and print what that cost."""
    with scraped(hosts, vms) as prometheus:
        cost = measure(prometheus, seconds)
    click.echo(f"{hosts} hosts with {vms} VMs, each scraped every {INTERVAL_SECONDS} s")
    for name, value in asdict(cost).items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        click.echo(f"| {name.replace('_', ' ')} | {shown} |")


if __name__ == "__main__":
    main()
