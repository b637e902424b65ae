"""What a scrape takes, by the number of VMs and of CPUs, as root:
`.venv/bin/python -m bench.scrape`.

The kernel's maps are real, as large as `--max-vms` makes them by default, filled as busy VMs would
fill them at worst, and pinned; each measurement has an exporter's process of its own, which reads
them as `nvscope export --pinned` does. The processes of the VMs are files of a made-up /proc. The
CPUs need not be there: how many the kernel says are possible decides on the stripes that a VM's
rows are spread over.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import click
import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from nvscope.exporter import cli, collector
from nvscope.exporter.web.forms import Form, Pages
from nvscope.probes.counts import decode
from nvscope.probes.counts.counters import Counters
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.pins import bpffs, write
from nvscope.probes.pins.pinned import Pinned
from nvscope.probes.points.sizes import DEFAULT_MAX_VMS, Sizes
from tests.unit.exporter.fakes import ATTACHMENTS, FakeHost, FakeProc
from tests.unit.probes.counts.maps import Counted, Maps

MMUS_PER_VM = 4
ROUNDS, LEAST_SECONDS = 7, 1
FIRST_PID = 1000
PLAIN = Form("text/plain; version=0.0.4; charset=utf-8", packed=False, names=frozenset())
COLUMNS = {
    "VMs": "{vms:,}",
    "CPUs": "{cpus}",
    "rows": "{rows:,}",
    "samples": "{samples:,}",
    "page, MB": "{page:.2f}",
    "read": "{read:.1f} ms",
    "gather": "{gather:.1f} ms",
    "scrape": "{scrape:.1f} ms",
    "client alone": "{render:.1f} ms",
    "MiB resident": "{resident:.1f}",
    "at most": "{peak:.1f}",
    "kernel, MiB": "{kernel:.1f}",
}


@contextmanager
def pinned(vms: int, cpus: int, folder: Path) -> Iterator[dict[str, float]]:
    """Maps with the counts of so many VMs, pinned in a folder; what of them is to be told."""
    bpffs.require(folder)
    try:
        with Maps(Sizes(max(vms, DEFAULT_MAX_VMS))) as maps:
            rows = _fill(maps, vms, cpus)
            counters = Counters(maps.fds, None, notifier_seen=True)
            loaded = SimpleNamespace(
                counters=counters,
                links={},
                programs={},
                iterator=None,
                attachments=ATTACHMENTS,
                host=FakeHost(revmap="maple"),
            )
            write.pin(loaded, folder)  # type: ignore[arg-type]
            yield {"rows": rows, "kernel": sum(map(_memlock_mib, maps.fds.values()))}
    finally:
        bpffs.release(folder)


def _fill(maps: Maps, vms: int, cpus: int) -> int:
    """All rows that so many VMs can have, as if they ran at the same time; returns how many."""
    places = {
        maps.count(VmKey(number + 1, FIRST_PID + number), labels, _counted(number), stripe)
        for stripe in range(decode.stripes(cpus))
        for number in range(vms)
        for labels in decode.LABELS
    }
    for number in range(vms):
        for mmu in range(MMUS_PER_VM):
            maps.shadow(1 + number * MMUS_PER_VM + mmu, VmKey(number + 1, FIRST_PID + number))
    maps.settle()
    return len(places)


def _counted(number: int) -> Counted:
    return Counted({slot: number + slot for slot in range(10, 20)}, 10**9, 4096)


def _memlock_mib(fd: int) -> float:
    """What the kernel says that a map takes."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    [said] = [line.split()[1] for line in lines if line.startswith("memlock:")]
    return int(said) / (1 << 20)


class Ready(Collector):
    """Families that are there already: what is left is to put them into words."""

    def __init__(self, families: list[object]) -> None:
        self.collect = lambda: families  # type: ignore[method-assign,assignment,return-value]


def measure(folder: Path, proc: Path) -> dict[str, float]:
    """In the exporter's process: milliseconds of CPU, MiB, samples."""
    psutil.PROCFS_PATH = str(proc)  # type: ignore[attr-defined]
    collector.spare_collections()
    registry, ready = CollectorRegistry(), CollectorRegistry()
    source = Pinned(folder)
    gathered = collector.VmCollector(source, None)
    registry.register(gathered)
    page = generate_latest(registry)
    families: list[object] = list(gathered.collect())
    ready.register(Ready(families))
    return {
        "samples": sum(len(family.samples) for family in families),  # type: ignore[attr-defined]
        "page": len(page) / 1e6,
        "read": _cpu_ms(source.snapshot),
        "gather": _cpu_ms(gathered.collect),
        "scrape": _cpu_ms(lambda: Pages(list(registry.collect())).page(PLAIN)),
        "render": _cpu_ms(lambda: generate_latest(ready)),
        "resident": _status_mib("VmRSS"),
        "peak": _status_mib("VmHWM"),
    }


def _cpu_ms(work: Callable[[], object]) -> float:
    """The least of some: of more where that takes little."""
    times: list[float] = []
    while len(times) < ROUNDS or sum(times) < LEAST_SECONDS:
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return 1000 * min(times)


def _status_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    [line] = [each for each in status if each.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    return [int(each) for each in value.split(",")]


@click.command()
@click.option("--vms", default="0,1,100,1000", callback=_numbers, help="How many, by commas.")
@click.option("--cpus", default="2,64,192,256", callback=_numbers, help="Possible ones, likewise.")
@click.option("--child", nargs=2, type=click.Path(path_type=Path), hidden=True)
def main(vms: list[int], cpus: list[int], child: tuple[Path, Path] | None) -> None:
    """Measure each number of VMs on each number of CPUs, and print a table."""
    if child:
        click.echo(json.dumps(measure(*child)))
        return
    click.echo(f"| {' | '.join(COLUMNS)} |")
    click.echo(f"|{' ---: |' * len(COLUMNS)}")
    for number in vms:
        for each in cpus:
            found = _measured(number, each)
            click.echo("| " + " | ".join(cell.format(**found) for cell in COLUMNS.values()) + " |")


def _measured(vms: int, cpus: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work:
        proc = FakeProc(Path(work) / "proc")
        for number in range(vms):
            proc.start(FIRST_PID + number, f"vmm\0-name\0vm{number}\0".encode())
        folder = Path(work) / "bpf"
        with pinned(vms, cpus, folder) as told:
            command = [sys.executable, "-m", "bench.scrape", "--child", folder, proc.root]
            said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return {"vms": vms, "cpus": cpus, **told, **json.loads(said)}


assert cli  # an exporter has it in memory

if __name__ == "__main__":
    main()
