"""How often CPUs take cache lines of the counts from each other: `.venv/bin/python -m bench.lines`.

A simulation. Each call that is counted adds to two or three members of a row (the sum of
durations, a slot, for unmaps the size), and calls on a shadow MMU change that MMU's state. A write
is contended if another CPU wrote the same line last: the line then has to come from there. The
calls are those of a trace (`nvscope record`), in its order, or made up. How they interleave
decides, and on an emulated host that is not how they would on a real one: compare layouts, and do
not take the figures for costs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click

from nvscope.lab.workloads.ledger.shadow import Refaults
from nvscope.probes.counts.decode import MAX_STRIPES, MMU_BYTES, ROW_BYTES, NvRow
from nvscope.probes.counts.snapshot import SLOTS
from nvscope.probes.traces.events import Event
from nvscope.probes.traces.tracefile import TraceError, open_trace

# ---- the layout, in bytes, to be changed here to see what another one does. Rows and states are
# whole lines: no two of them share one.

LINE_BYTES = 64
SIZE_AT, SUM_AT, SLOTS_AT = (
    NvRow.size_bytes.offset,
    NvRow.sum_ns.offset,
    NvRow.slots.offset,
)
SLOT_BYTES = 8
STRIPES = MAX_STRIPES

# Which of the rows of a kind (or of the states of an MMU) is written to, by the CPU of the call and
# by that on which the task first made a call of that kind.
LAYOUTS: dict[str, Callable[[int, int], int]] = {
    "one for all CPUs": lambda cpu, first: 0,
    f"{STRIPES} stripes, by CPU": lambda cpu, first: cpu % STRIPES,
    f"{STRIPES} stripes, by a task's first CPU": lambda cpu, first: first % STRIPES,
    "one per CPU": lambda cpu, first: cpu,
}


@dataclass(frozen=True)
class Call:
    """A call that is counted. task: who made it; kind: which of its VM's rows; ns: its duration.

    mmu: whose state it changes, 0 for none; changes: how many members of it. sized: its row has a
    sum of sizes.
    """

    cpu: int
    task: int
    vm: int
    kind: str
    ns: int
    mmu: int = 0
    changes: int = 0
    sized: bool = False


class Lines:
    """The last writer of each line of rows or states. writes, contended: how many there were.

    each_bytes: the size of one of these; used: how many have been written to.

    >>> lines = Lines(each_bytes=384)
    >>> for cpu in (0, 0, 1, 0):
    ...     lines.write("row", 8, cpu)
    >>> lines.write("row", 64, 3)  # another line
    >>> lines.writes, lines.contended, lines.used
    (5, 2, 1)
    """

    def __init__(self, each_bytes: int) -> None:
        self.each_bytes = each_bytes
        self.writes = self.contended = 0
        self._writers: dict[tuple[Hashable, int], int] = {}

    def write(self, what: Hashable, at: int, cpu: int) -> None:
        """A CPU writes to the member `at` bytes into a row or state, which begins with a line."""
        line = what, at // LINE_BYTES
        self.writes += 1
        self.contended += self._writers.get(line, cpu) != cpu
        self._writers[line] = cpu

    @property
    def used(self) -> int:
        return len({what for what, _ in self._writers})


@dataclass
class Sharing:
    """What a layout makes of calls."""

    rows: Lines
    mmus: Lines


def simulate(calls: Iterable[Call], place: Callable[[int, int], int]) -> Sharing:
    """Write what each call writes, in order. place: one of LAYOUTS."""
    sharing = Sharing(Lines(ROW_BYTES), Lines(MMU_BYTES))
    firsts: dict[tuple[int, int, str], int] = {}
    for call in calls:
        first = firsts.setdefault((call.task, call.vm, call.kind), call.cpu)
        placed = place(call.cpu, first)
        row = call.vm, call.kind, placed
        sharing.rows.write(row, SUM_AT, call.cpu)
        slot = min(call.ns.bit_length(), SLOTS - 1)
        sharing.rows.write(row, SLOTS_AT + slot * SLOT_BYTES, call.cpu)
        if call.sized:
            sharing.rows.write(row, SIZE_AT, call.cpu)
        for _ in range(call.changes if call.mmu else 0):
            sharing.mmus.write((call.mmu, placed), 0, call.cpu)
    return sharing


# ---- the calls of a trace


def of_trace(events: Iterable[Event]) -> Iterator[Call]:
    """The calls that a trace's rows tell of, each with the row that the exporter's programs use."""
    mmus: dict[int, Refaults] = {}
    for event in events:
        if event.kind == "mmu_free":
            mmus.pop(event.mmu, None)
        elif event.kind == "notifier_end":
            yield Call(event.cpu, event.tid, event.kvm, "notifier", event.duration_ns)
        elif event.kind == "record":  # counted, not timed
            yield Call(event.cpu, event.tid, event.kvm, f"record {event.detail}", 0)
        elif event.kind == "fault":
            yield _fault(event, mmus)
        elif event.kind == "unmap_end":
            yield _unmap(event, mmus)


def _fault(event: Event, mmus: dict[int, Refaults]) -> Call:
    failed = event.result < 0
    kind, changes = f"fault {'error' if failed else 'ok'}", 0
    if event.mmu and not failed:
        refault = mmus.setdefault(event.mmu, Refaults()).fault()
        changes = 1 + refault  # mapped; owed
        kind += " refault" if refault else ""
    kind += " shadow" if event.mmu else " canonical"
    return Call(event.cpu, event.tid, event.kvm, kind, event.duration_ns, event.mmu, changes)


def _unmap(event: Event, mmus: dict[int, Refaults]) -> Call:
    kind = f"unmap {'full' if event.full else 'ranged'} {event.detail}"
    state, changes = mmus.get(event.mmu), 0
    notifier = event.detail == "notifier"
    if state is not None and (event.full or notifier):
        changes = 2  # mapped and owed
        if event.full:
            (state.take_all if notifier else state.forget)()
        else:
            state.take_one()
    return Call(
        event.cpu, event.tid, event.kvm, kind, event.duration_ns, event.mmu, changes, sized=True
    )


# ---- calls that are made up


_UNMAP = "unmap ranged notifier"


def made_up(
    vms: int, vcpus: int, cpus: int, faults: int, *, in_a_row: bool = False, seed: int = 1
) -> Iterator[Call]:
    """So many shadow faults of VMs, each with one shadow MMU, which its vCPUs share.

    A vCPU is on a CPU taken at random, another one after a hundred faults or so; in_a_row: the
    vCPUs keep one CPU after the other. One fault in ten is a refault, and as many pages are taken
    by tasks that keep to a CPU each.
    """
    chance = random.Random(seed)
    cpu_of = [
        number % cpus if in_a_row else chance.randrange(cpus) for number in range(vms * vcpus)
    ]
    for _ in range(faults):
        number = chance.randrange(vms * vcpus)
        vm = 1 + number // vcpus
        if not in_a_row and chance.random() < 0.01:
            cpu_of[number] = chance.randrange(cpus)
        cpu = cpu_of[number]
        refault = chance.random() < 0.1
        yield Call(cpu, number, vm, "record stored", 0)
        kind = "fault ok refault shadow" if refault else "fault ok shadow"
        yield Call(cpu, number, vm, kind, _ns(chance, 4_000), vm, 1 + refault)
        if refault:
            taker = chance.randrange(cpus)
            yield Call(taker, -1 - taker, vm, _UNMAP, _ns(chance, 1_000), vm, 2, sized=True)
            yield Call(taker, -1 - taker, vm, "notifier", _ns(chance, 2_000))


def _ns(chance: random.Random, median_ns: int) -> int:
    return round(chance.lognormvariate(math.log(median_ns), 0.5))


# ---- the table


def table(calls: list[Call]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| written | layout | KiB | writes | contended | per call |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    found = {name: simulate(calls, place) for name, place in LAYOUTS.items()}
    rows = [("rows", name, sharing.rows) for name, sharing in found.items()]
    mmus = [("MMU state", name, sharing.mmus) for name, sharing in found.items()]
    for what, name, lines in chain(rows, mmus):
        kib = lines.used * lines.each_bytes / 1024
        counts = f"{lines.writes:,} | {lines.contended:,} | {lines.contended / len(calls):.3f}"
        yield f"| {what} | {name} | {kib:,.1f} | {counts} |"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--vms", type=click.IntRange(1), default=4, show_default=True)
@click.option("--vcpus", type=click.IntRange(1), default=8, show_default=True, help="Of each VM.")
@click.option("--cpus", type=click.IntRange(1), default=64, show_default=True)
@click.option("--faults", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--in-a-row", is_flag=True, help="vCPUs keep CPUs in a row, and not any.")
def main(trace: Path | None, vms: int, vcpus: int, cpus: int, faults: int, in_a_row: bool) -> None:
    """Print how often the calls of a TRACE take lines from another CPU, by layout of the counts.

    KiB are those of the rows or states that were written to. Without a TRACE calls are made up, by
    the options. The state of an MMU is one for all CPUs: its other layouts are there to compare.
    """
    if trace is None:
        calls = list(made_up(vms, vcpus, cpus, faults, in_a_row=in_a_row))
    else:
        try:
            with open_trace(trace) as reader:
                calls = list(of_trace(reader.events()))
        except TraceError as error:
            raise click.ClickException(str(error)) from None
        if not calls:
            raise click.ClickException(f"{trace}: no call in it is counted: record a busy VM")
    used = len({call.cpu for call in calls})
    click.echo(f"{len(calls):,} calls, on {used} CPUs\n")
    for line in table(calls):
        click.echo(line)


if __name__ == "__main__":
    main()
