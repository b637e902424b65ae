"""`nvscope storm`: MMU notifiers on a running VM, so that a kernel can be measured under load."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
from rich.console import Console

from nvscope.probes.commands.finite import Finite
from nvscope.probes.commands.options import duration_option
from nvscope.probes.commands.storm.ends import Ends
from nvscope.probes.commands.storm.memory import read_guest_memory
from nvscope.probes.commands.storm.run import Tally, storm
from nvscope.probes.commands.storm.ways import Ksm, Pageout, Reclaim, Way
from nvscope.probes.errors import LackError
from nvscope.probes.vms import names, running_vms
from nvscope.probes.vms.identity import Vm

WAYS = ("pageout", "reclaim", "ksm")


@dataclass(frozen=True)
class StormOptions:
    """What the user asked for. rate: calls per second; duration: seconds, None: until Ctrl-C."""

    vm: str
    way: str
    rate: float
    duration: float | None
    pages: int
    seed: int | None


_EXAMPLES = """\b
Examples:
  nvscope storm --vm db --dry-run
  nvscope storm --vm db --rate 100 --duration 30s
  nvscope storm --vm 4711 --way reclaim --pages 256 --yes --json
"""


@click.command("storm", epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--vm", required=True, metavar="NAME|UUID|PID", help="Whose pages to take.")
@click.option("--way", type=click.Choice(WAYS), default=WAYS[0], show_default=True)
@click.option(
    "--rate",
    type=Finite(1e-5, 1e6),  # once a day; a call takes a microsecond at least
    default=10.0,
    show_default=True,
    metavar="N",
    help="Calls per second, 1e-5 to 1e6.",
)
@duration_option
@click.option(
    "--pages",
    type=click.IntRange(1, 1 << 20),
    default=16,
    show_default=True,
    metavar="N",
    help="Pages per call (pageout, reclaim).",
)
@click.option("--seed", type=int, metavar="N", help="Take the same pages as last time (pageout).")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_object", is_flag=True, help="Print the result for programs.")
def command(yes: bool, dry_run: bool, as_object: bool, **wanted: object) -> None:
    """Make MMU notifiers on a running VM (as root), in ways that lose nothing.

    pageout puts pages of the guest's memory into swap (process_madvise), reclaim has the kernel
    choose them among all that is in the VM's cgroup (memory.reclaim), ksm switches KSM on and off
    for the whole host. What is taken comes back when it is touched: the guest keeps its data, and
    gets slower. Ends with Ctrl-C, SIGTERM, SIGHUP or any other signal, with --duration or with the
    VM. A switch that was changed is set back then, unless another has changed it since; after
    SIGKILL alone it stays.

    Exit codes: 0 done, 2 wrong usage, 3 the host lacks something (root, swap, a cgroup, KSM).
    """
    run(StormOptions(**wanted), yes=yes, dry_run=dry_run, as_object=as_object)  # type: ignore[arg-type]


def run(wanted: StormOptions, *, yes: bool, dry_run: bool, as_object: bool) -> None:
    """Find the VM, say what will be done, ask, do it, and tell what came of it."""
    if os.geteuid() != 0:
        raise LackError("only root may take memory from other processes: run as root")
    vm = running_vms.find(wanted.vm)
    way = make(wanted, vm)
    with _while_somebody_reads():
        with contextlib.closing(way):
            for line in plan(wanted, vm, way):
                click.echo(line, err=True)
            if dry_run:
                return
            _consent(yes)
            ends = Ends()
            with _progress(Console(stderr=True)) as show:
                tally = storm(way, wanted.rate, wanted.duration, ends.came, show)
        _tell(wanted, vm, tally, as_object)


def _tell(wanted: StormOptions, vm: Vm, tally: Tally, as_object: bool) -> None:
    if tally.ended:
        click.echo("nvscope: the VM has ended", err=True)
    said = {"vm": vm.label, "pid": vm.pid, "way": wanted.way, **tally.as_json()}
    click.echo(json.dumps(said) if as_object else tally.text())


@contextlib.contextmanager
def _while_somebody_reads() -> Iterator[None]:
    """An output that nobody reads any more is an end like any other, as is a lost terminal."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # what they still hold would fail once more
            os.dup2(nowhere, stream.fileno())


def make(wanted: StormOptions, vm: Vm) -> Way:
    """The way that was asked for. Raises LackError where it cannot work here."""
    if wanted.way == "reclaim":
        return Reclaim(vm.pid, wanted.pages)
    memory = read_guest_memory(vm.pid)
    if wanted.way == "ksm":
        return Ksm(vm.pid, memory)
    return Pageout(vm.pid, memory, wanted.pages, wanted.seed)


def plan(wanted: StormOptions, vm: Vm, way: Way) -> Iterator[str]:
    """What will be done, in lines."""
    uuid = f", uuid {vm.uuid}" if vm.uuid else ""
    yield f"VM {vm.label} (pid {vm.pid}{uuid})"
    yield from (names.clean(line, 200) for line in way.plan)
    until = "until Ctrl-C" if wanted.duration is None else f"for {wanted.duration:g} s"
    yield f"{wanted.rate:g} calls a second, {until}"


def _consent(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: give --yes")
    click.confirm("Go on?", abort=True, err=True)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[Tally], None]]:
    """A line that is kept up to date, on a terminal."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda tally: status.update(f"{tally.text()} (Ctrl-C ends it)")
