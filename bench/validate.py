"""How fast traces are validated, and in how much memory: `.venv/bin/python bench/validate.py`.

Makes traces of a VM whose nested guest touches random pages while the host takes some back; the
same each time. Each is read, and then validated, in a process of its own; what counts is the time
that it had a core, for the budget is one of a core, and the machine may have more to do.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import MAX_BATCH_ROWS, Writer, columns_of

PAGE = 4096
PAGES = 100_000  # that the guest uses: 400 MiB
KVM, MMU, NESTED = 0xFFFF000012340000, 0xFFFF000056780000, 1 << 40

# What each process does, and then says: CPU seconds, peak KiB (VmHWM of /proc/self/status).
_MEASURE = """
import json, re, sys, time
from pathlib import Path
from nvscope.analysis.validate.jobs.run import batches_of, validate
path, began = Path(sys.argv[2]), time.process_time()
if sys.argv[1] == "read":
    rows, verdict = sum(batch.num_rows for batch in batches_of(path)), "pass"
else:
    result = validate(path)
    rows, verdict = result.rows, result.verdict
seconds = time.process_time() - began
assert verdict == "pass", verdict
kib = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([rows, seconds, kib]))
"""


def events(rows: int) -> Iterator[Event]:
    """A trace of about so many rows, as a correct kernel makes it."""
    chance = random.Random(1)
    mapped: set[int] = set()
    made, now = 2, 1_000
    yield Event("mmu_init", now, kvm=KVM, pid=7)
    yield Event("mmu_init", now, kvm=KVM, pid=7, mmu=MMU)
    while made < rows:
        now += 5_000
        page = chance.randrange(PAGES)
        canonical, nested = page * PAGE, NESTED + page * PAGE
        at = {"kvm": KVM, "pid": 7, "mmu": MMU, "nested_ipa": nested, "size": PAGE}
        if chance.random() < 0.7:
            outcome = "unchanged" if page in mapped else "stored"
            mapped.add(page)
            where = {**at, "tid": 11, "comm": "CPU 0/KVM", "canonical_ipa": canonical}
            yield Event("record", now, detail=outcome, duration_ns=300, **where)  # type: ignore[arg-type]
            yield Event("map", now + 900, **where)  # type: ignore[arg-type]
            yield Event("fault", now + 1_500, duration_ns=4_000, **where)  # type: ignore[arg-type]
            made += 3
            continue
        taker = {"tid": 12, "comm": "kswapd0"}
        taken = {"kvm": KVM, "pid": 7, "canonical_ipa": canonical, "size": PAGE, **taker}
        yield Event("notifier_begin", now, **taken)  # type: ignore[arg-type]
        if page in mapped:
            mapped.remove(page)
            yield Event("unmap_begin", now + 200, detail="notifier", **at, **taker)  # type: ignore[arg-type]
            yield Event("unmap_end", now + 900, detail="notifier", **at, **taker)  # type: ignore[arg-type]
            made += 2
        yield Event("notifier_end", now + 1_200, duration_ns=1_200, **taken)  # type: ignore[arg-type]
        made += 2


def write(path: Path, rows: int) -> None:
    """Make the trace."""
    waiting: list[Event] = []
    with path.open("wb") as stream, Writer(stream, About(revmap="maple")) as writer:
        for event in events(rows):
            waiting.append(event)
            if len(waiting) == MAX_BATCH_ROWS:
                writer.write(columns_of(waiting))
                waiting.clear()
        writer.write(columns_of(waiting))


def measure(what: str, path: Path) -> tuple[int, float, int]:
    """Rows, CPU seconds and peak KiB. what: "read" | "validate"."""
    command = [sys.executable, "-c", _MEASURE, what, str(path)]
    rows, seconds, kib = json.loads(subprocess.check_output(command))
    return rows, seconds, kib


@click.command()
@click.argument("sizes", metavar="ROWS...", nargs=-1, type=click.IntRange(1))
def main(sizes: tuple[int, ...]) -> None:
    """Print a table for traces of so many rows.  [default: 100000 1000000 10000000]"""
    click.echo("| rows | file | what | CPU s | events/s | peak MiB |")
    click.echo("| ---: | ---: | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.arrows"
        write(path, 100_000)
        measure("validate", path)  # what Numba compiles, it compiles now
        for size in sizes or (100_000, 1_000_000, 10_000_000):
            write(path, size)
            mib = path.stat().st_size / (1 << 20)
            for what in ("read", "validate"):
                rows, seconds, kib = measure(what, path)
                speed = f"{seconds:.2f} | {rows / seconds:,.0f} | {kib / 1024:.0f}"
                click.echo(f"| {rows:,} | {mib:.1f} MiB | {what} | {speed} |")


if __name__ == "__main__":
    main()
