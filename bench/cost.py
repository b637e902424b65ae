"""What being probed costs a call, in instructions: `.venv/bin/python -m bench.cost`.

By nvscope, by an empty pair of programs, and by other tools; some minutes for each of them, for it
compiles and attaches twice on an emulated CPU. One boot, in which one instruction is one virtual
nanosecond. Each tool is on one kernel function while a nested guest calls that; what a call costs
is the difference to the same run with no tool.
"""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from nvscope.lab import assets
from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.services import GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup.steps import step

# L2 writes all pages in one order: that of one page is then known to five instructions.
UNMAPS, PAGES = 101, 4096
# Real ones; under instruction counting with one CPU all takes several times as long as else.
START_SECONDS, FACTS_SECONDS, END_SECONDS = 900.0, 300.0, 300.0
_TRACED = "/sys/kernel/tracing/enabled_functions /sys/kernel/debug/kprobes/list"


@dataclass(frozen=True)
class Probed:
    """A function. fact: what of the workload's facts has one call of it; calls: the ledger's counts
    whose sum is how often it is called.
    """

    point: str
    symbol: str
    fact: str
    calls: tuple[str, ...]


PROBED = (
    Probed("notifier_unmap", "kvm_unmap_gfn_range", "take_back_ns", ("notifier_unmaps",)),
    Probed("s2_fault", "user_mem_abort", "first_write_ns", ("canonical_faults", "shadow_faults")),
)


@dataclass(frozen=True)
class Tool:
    """What probes a function. command: of a function; ends: by Ctrl-C, else by the end of its
    standard input; counted: its last words -> the calls that it has seen, None for an empty one.
    """

    name: str
    command: Callable[[Probed], str]
    ends_by_signal: bool
    counted: Callable[[str], int] | None


@dataclass(frozen=True)
class Cost:
    """instructions: what a call costs more with the tool than without, both programs together."""

    symbol: str
    tool: str
    instructions: float


def _histogram(text: str) -> int:
    """The calls in a log2 histogram as bcc's tools and bpftrace print it."""
    return sum(int(count) for count in re.findall(r"[:\])]\s+(\d+)\s+\|", text))


def _script(probed: Probed, begin: str, end: str) -> str:
    program = (
        f"{begin}:{probed.symbol} {{ @start[tid] = nsecs; }}"
        f" {end}:{probed.symbol} /@start[tid]/"
        " { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }"
    )
    return f"bpftrace -B none -e '{program}'"


_HOLDER = "python3 /mnt/src/bench/attached.py"
EMPTY = Tool("empty pair", lambda probed: f"{_HOLDER} --empty {probed.symbol}", False, None)
OURS = Tool("nvscope", lambda probed: f"{_HOLDER} {probed.point}", False, int)
FENTRY = Tool("bpftrace, fentry", lambda p: _script(p, "fentry", "fexit"), True, _histogram)
KPROBE = Tool("bpftrace, kprobe", lambda p: _script(p, "kprobe", "kretprobe"), True, _histogram)
FUNCLATENCY = Tool(
    "funclatency",
    lambda probed: f"python3 -u /usr/sbin/funclatency-bpfcc {probed.symbol}",
    True,
    _histogram,
)
TOOLS = (EMPTY, OURS, FENTRY, KPROBE, FUNCLATENCY)


def costs(ready: assets.Assets, tools: Sequence[Tool] = TOOLS) -> Iterator[Cost]:
    """Measure each tool on each function. Raises GuestError where one has not seen each call."""
    with ready.boot(cpus=1, icount=True) as host:
        with step("host that counts instructions boots"):
            host.wait_ready(START_SECONDS)
        with step("nested guest, not probed"), _workload(host) as bare:
            pass
        for probed in PROBED:
            for tool in tools:
                with step(f"{probed.symbol}, {tool.name}"):
                    facts = _probed(host, tool, probed)
                yield Cost(probed.symbol, tool.name, facts[probed.fact] - bare[probed.fact])


def _probed(host: Lab, tool: Tool, probed: Probed) -> dict[str, Any]:
    """The workload's facts with the tool on the function."""
    with GuestProcess(host, tool.command(probed)) as process:
        process.line(START_SECONDS)
        host.run(f"until grep -q {probed.symbol} {_TRACED}; do sleep 0.1; done", timeout=60)
        with _workload(host) as facts:
            if tool.ends_by_signal:
                process.signal(signal.SIGINT)
            else:
                process.release()
            words = process.rest(END_SECONDS)
    if tool.counted:
        expected = facts["expected"]
        _check(tool, tool.counted(words), sum(expected[key] for key in probed.calls), words)
    host.run(f"while grep -q {probed.symbol} {_TRACED}; do sleep 0.1; done", timeout=60)
    return facts


def _check(tool: Tool, seen: int, calls: int, words: str) -> None:
    """A tool that has not seen each call has not cost each call."""
    if seen != calls:
        raise GuestError(f"{tool.name} has seen {seen} of {calls} calls:\n{words}")


@contextmanager
def _workload(host: Lab) -> Iterator[dict[str, Any]]:
    """What it has to say when all is done; its VM ends only after that has been looked at."""
    options = ("--unmaps", str(UNMAPS), "--pages", str(PAGES))
    with Synthetic(host, "counted", *options) as guest:
        yield guest.facts(FACTS_SECONDS)
        guest.release()
        if guest.wait() != 0:
            raise GuestError(f"the workload failed:\n{guest.errors()}")


def table(found: Iterable[Cost]) -> Iterator[str]:
    """Markdown: a row for each tool; in brackets the multiple of the empty pair."""
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    for cost in found:
        rows[cost.tool][cost.symbol] = cost.instructions
    symbols = [probed.symbol for probed in PROBED]
    yield "| instructions a call | " + " | ".join(f"`{symbol}`" for symbol in symbols) + " |"
    yield "| --- |" + " ---: |" * len(symbols)
    floor = rows[EMPTY.name]
    for tool, row in rows.items():
        cells = (f"{row[symbol]:,.0f} ({row[symbol] / floor[symbol]:.1f})" for symbol in symbols)
        yield f"| {tool} | " + " | ".join(cells) + " |"


@click.command()
@click.option("--kernel", type=click.Choice(assets.KERNELS), default="lab", show_default=True)
def main(kernel: str) -> None:
    """Print a table: what probing a call adds, by function and tool."""
    for line in table(costs(assets.prepare(kernel))):
        click.echo(line)


if __name__ == "__main__":
    main()
