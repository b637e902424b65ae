"""How much faster many judge a trace of many VMs: `.venv/bin/python bench/scale.py`.

The VMs are those of validate.py, all alike, whose rows alternate. The trace is judged as it was
recorded, as a data set, and on a Dask cluster of as many processes on this machine. Each time is
that of a process of its own, from its start to its end; the cluster is there already.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
from validate import events

from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import MAX_BATCH_ROWS, Writer, columns_of

NVSCOPE = (sys.executable, "-m", "nvscope")


def of_many(vms: int, rows: int) -> Iterator[Event]:
    """The rows of so many VMs in turn, each of which has so many."""
    for together in zip(*(events(rows) for _ in range(vms)), strict=True):
        for vm, event in enumerate(together):
            mmu = event.mmu + (vm << 20) if event.mmu else 0
            yield replace(event, kvm=event.kvm + (vm << 20), mmu=mmu, tid=event.tid + 100 * vm)


def write(path: Path, vms: int, rows: int) -> None:
    """Make the trace."""
    waiting: list[Event] = []
    with path.open("wb") as stream, Writer(stream, About(revmap="maple")) as writer:
        for event in of_many(vms, rows):
            waiting.append(event)
            if len(waiting) == MAX_BATCH_ROWS:
                writer.write(columns_of(waiting))
                waiting.clear()
        writer.write(columns_of(waiting))


def took(*arguments: object) -> str:
    """Of one `nvscope`: seconds, and those of all its processes on a CPU."""
    began, used = time.perf_counter(), _cpu_seconds()
    subprocess.run([*NVSCOPE, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return f"{time.perf_counter() - began:.1f} | {_cpu_seconds() - used:.1f}"


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@click.command()
@click.option("--vms", default=32, show_default=True)
@click.option("--rows", default=20_000, show_default=True, help="Of each VM.")
@click.option("--jobs", default=2, show_default=True)
def main(vms: int, rows: int, jobs: int) -> None:
    """Print a table."""
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory() as name:
        trace, fleet = Path(name) / "trace.arrows", Path(name) / "fleet"
        write(trace, vms, rows)
        click.echo("| what | seconds | CPU seconds |\n| --- | ---: | ---: |")
        click.echo(f"| convert --partition | {took('convert', '--partition', trace, fleet)} |")
        for path, what in ((trace, "trace"), (fleet, "data set")):
            for number in (1, jobs):
                said = took("validate", "-j", number, path)
                click.echo(f"| validate -j {number}, {what} | {said} |")
        with LocalCluster(
            n_workers=jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster:
            said = took("validate", "--scheduler", cluster.scheduler_address, fleet)
        click.echo(f"| validate --scheduler, {jobs} workers | {said}, and the workers' |")


if __name__ == "__main__":
    main()
