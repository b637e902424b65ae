"""What a scrape takes, by the number of VMs: `.venv/bin/python -m bench.scrape`, as root.

The kernel's maps are real, filled as busy VMs would fill them, and pinned; each number of VMs has
an exporter's process of its own, which reads them as `nvscope export --pinned` does. The processes
of the VMs are files of a made-up /proc.
"""

from __future__ import annotations

import json
import os
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
from nvscope.probes import decode, libbpf
from nvscope.probes.counters import Counters
from nvscope.probes.pins import bpffs, write
from nvscope.probes.pins.pinned import Pinned
from tests.unit.exporter_fakes import ATTACHMENTS, FakeHost, FakeProc

NUMBERS = (0, 1, 100, 1000)
ROWS_PER_VM = 20  # of the 24 that it can have
MMUS_PER_VM = 4
ROUNDS = 7
FIRST_PID = 1000
PLAIN = Form("text/plain; version=0.0.4; charset=utf-8", packed=False, names=frozenset())
# enum bpf_map_type, uapi/linux/bpf.h
_HASH, _PERCPU_HASH = 1, 5
_MISSED = len(decode.EDGES) * len(decode.POINTS)


@contextmanager
def pinned(vms: int, folder: Path) -> Iterator[None]:
    """Maps with the counts of so many VMs, pinned in a folder."""
    bpffs.require(folder)
    create = libbpf.library().bpf_map_create
    maps = {
        "rows": create(_PERCPU_HASH, b"rows", *decode.SIZES, (vms + 1) * 24, None),
        "spare": create(_PERCPU_HASH, b"spare", *decode.SIZES, 32, None),
        "mmus": create(_HASH, b"mmus", *decode.MMU_SIZES, (vms + 1) * 64, None),
        "lost": create(libbpf.MAP_TYPE_ARRAY, b"lost", 4, 8, len(decode.LOSSES), None),
        "missed": create(libbpf.MAP_TYPE_ARRAY, b"missed", 4, 8, _MISSED, None),
    }
    try:
        for number in range(vms):
            _fill(maps, number)
        counters = Counters(maps, None, notifier_seen=True)
        loaded = SimpleNamespace(
            counters=counters,
            links={},
            programs={},
            iterator=None,
            attachments=ATTACHMENTS,
            host=FakeHost(revmap="maple"),
        )
        write.pin(loaded, folder)  # type: ignore[arg-type]
        yield
    finally:
        for fd in maps.values():
            os.close(fd)
        bpffs.release(folder)


def _fill(maps: dict[str, int], number: int) -> None:
    update = libbpf.library().bpf_map_update_elem
    pid = FIRST_PID + number
    row = decode.Row(sum_ns=10**9, size_bytes=4096)
    for slot in range(10, 20):
        row.slots[slot] = number + slot
    values = bytes(row) * libbpf.possible_cpus()
    for labels in decode.LABELS[:ROWS_PER_VM]:
        update(maps["rows"], bytes(decode.Key(number + 1, pid, labels)), values, 0)
    for mmu in range(MMUS_PER_VM):
        key = (number * MMUS_PER_VM + mmu).to_bytes(8, "little")
        update(maps["mmus"], key, bytes(decode.Mmu(kvm=number + 1, pid=pid)), 0)


class Ready(Collector):
    """Families that are there already: what is left is to put them into words."""

    def __init__(self, families: list[object]) -> None:
        self.collect = lambda: families  # type: ignore[method-assign,assignment,return-value]


def measure(folder: Path, proc: Path) -> dict[str, float]:
    """In the exporter's process: milliseconds of CPU, MiB, samples."""
    psutil.PROCFS_PATH = str(proc)  # type: ignore[attr-defined]
    collector.spare_collections()
    registry, ready = CollectorRegistry(), CollectorRegistry()
    gathered = collector.VmCollector(Pinned(folder), None)
    registry.register(gathered)
    page = generate_latest(registry)
    families: list[object] = list(gathered.collect())
    ready.register(Ready(families))
    return {
        "samples": sum(len(family.samples) for family in families),  # type: ignore[attr-defined]
        "page": len(page) / 1e6,
        "gather": _cpu_ms(gathered.collect),
        "scrape": _cpu_ms(lambda: Pages(list(registry.collect())).page(PLAIN)),
        "render": _cpu_ms(lambda: generate_latest(ready)),
        "resident": _resident_mib(),
    }


def _cpu_ms(work: Callable[[], object]) -> float:
    """The least of some."""
    times = []
    for _ in range(ROUNDS):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return 1000 * min(times)


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    [line] = [each for each in status if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@click.command()
@click.option("--child", nargs=2, type=click.Path(path_type=Path), hidden=True)
def main(child: tuple[Path, Path] | None) -> None:
    """Measure each number of VMs, and print a table."""
    if child:
        click.echo(json.dumps(measure(*child)))
        return
    click.echo("| VMs | samples | page, MB | gather | scrape | client alone | MiB resident |")
    click.echo("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for vms in NUMBERS:
        with tempfile.TemporaryDirectory() as work:
            proc = FakeProc(Path(work) / "proc")
            for number in range(vms):
                proc.start(FIRST_PID + number, f"vmm\0-name\0vm{number}\0".encode())
            folder = Path(work) / "bpf"
            with pinned(vms, folder):
                command = [sys.executable, "-m", "bench.scrape", "--child", folder, proc.root]
                found = json.loads(
                    subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
                )
        click.echo(
            "| {vms:,} | {samples:,} | {page:.2f} | {gather:.1f} ms | {scrape:.1f} ms"
            " | {render:.1f} ms | {resident:.1f} |".format(vms=vms, **found)
        )


assert cli  # an exporter has it in memory

if __name__ == "__main__":
    main()
