"""`nvscope top`: all VMs of this host, and what their unmaps cost right now."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import nvscope
from nvscope.probes.commands import session
from nvscope.probes.commands.options import (
    mechanisms_option,
    parsed,
    seconds,
    strict_option,
    symbols_option,
)
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.commands.probe.view import as_text
from nvscope.probes.commands.top.rates import SORTS, cells, rates
from nvscope.probes.commands.top.screen import Screen
from nvscope.probes.commands.top.view import Frame, State, screen, visible
from nvscope.probes.kernel import features
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.vms.changes import Changes
from nvscope.probes.vms.identity import require_initial_pid_namespace

if TYPE_CHECKING:
    from nvscope.probes.vms.changes import SnapshotSource

_EXAMPLES = """\b
Examples:
  nvscope top
  nvscope top --sort unmaps --filter db
  nvscope top --once --json
  nvscope top --points my-kernel.toml
  nvscope top --interval 10s --count 6 --json > minute.jsonl
"""


@dataclass(frozen=True)
class TopOptions:
    """What the user asked for. interval: seconds; count: of frames, None: until told to stop."""

    state: State
    interval: float
    count: int | None
    json: bool


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="locked", show_default=True, help="By what."
)
@click.option("--reverse", is_flag=True, help="The smallest first.")
@click.option("--filter", "wanted", metavar="TEXT", default="", help="VMs with it in their name.")
@click.option(
    "--interval",
    metavar="TIME",
    default="1s",
    show_default=True,
    callback=parsed(seconds, "1s or 500ms"),
    help="Between two frames; rates are over it.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many frames.")
@click.option("--once", is_flag=True, help="The same as --count 1.")
@click.option("--json", "as_json", is_flag=True, help="Each frame as JSON, one a line.")
@mechanisms_option
@symbols_option
@points_option
@strict_option
def top(
    sort: str,
    reverse: bool,
    wanted: str,
    interval: float,
    count: int | None,
    once: bool,
    as_json: bool,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
) -> None:
    """Show all VMs, and what unmaps of their memory cost, a second.

    \b
    unmaps/s    the MMU notifier takes a range back, or guest_memfd is invalidated
    full        how many of the shadow stage 2s that this unmapped it unmapped whole
    locked/s    time in notifier unmaps, under mmu_lock
    refaults/s  time in shadow faults that bring back what unmaps took
    why full    a second: no_revmap, there is none; else why it was not used

    A VM is there from its first unmap or fault on. On a terminal, keys: s sorts by the next column,
    r reverses, / filters (Esc: not), p pauses, q quits.

    Exit codes: 0 shown, 2 wrong usage, 3 the host lacks something.
    """
    session.block()
    if once and count not in (None, 1):
        raise click.UsageError("--once is --count 1: give one of them")
    require_apart(points_file, symbols)
    state = State(sort=sort, reverse=reverse, filter=wanted)
    shown = TopOptions(state, interval, 1 if once else count, as_json)
    run(shown, mechanisms or MECHANISMS, symbols, strict, points_file)


def run(
    wanted: TopOptions,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    strict: bool,
    points_file: PointsFile | None = None,
) -> None:
    """Attach, show until told to stop, detach."""
    require_initial_pid_namespace()
    host = check.applied(points_file, features.read_host())
    features.require_host(host)
    with Console(stderr=True).status("compiling and attaching the probes …"):
        from nvscope.probes.points import loader  # the help and the errors above need no bcc

        loaded = loader.load(
            mechanisms=mechanisms, symbols=symbols, strict=strict, points_file=points_file
        )
    with contextlib.closing(loaded):
        session.report(loaded.attachments)
        show(loaded, host, wanted)


def show(source: SnapshotSource, host: features.Host, wanted: TopOptions) -> None:
    """Frame after frame, on a screen of its own if there is a terminal."""
    console = Console()
    look = frames(Changes(source, cells(host.revmap)))
    terminal = console.is_terminal and not console.is_dumb_terminal
    if terminal and wanted.count is None and not wanted.json:
        Screen(look, console, wanted.state, wanted.interval).run()
        return
    with session.until_reader_goes():
        for _ in itertools.islice(itertools.count(), wanted.count):
            if session.stopped(wanted.interval):
                return
            frame = look()
            if wanted.json:
                click.echo(json.dumps(as_dict(frame, host, wanted.state)))
            else:
                click.echo(as_text(console, screen(frame, wanted.state, keys=False)), nl=False)


def as_dict(frame: Frame, host: features.Host, state: State) -> dict[str, Any]:
    """A frame for programs: its rows in the order and with the filter that were asked for."""
    return {
        "nvscope": nvscope.__version__,
        "kind": "top",
        "unix_ns": time.time_ns(),
        "seconds": round(frame.seconds, 6),
        "host": {"kernel": host.kernel, "arch": host.arch, "revmap": host.revmap},
        "lost": dict(frame.lost),
        "vms": [row.as_dict() for row in visible(frame, state)],
    }


def frames(changes: Changes) -> Callable[[], Frame]:
    """What makes the next frame."""

    def look() -> Frame:
        change = changes.look()
        return Frame(rates(change), change.seconds, change.lost)

    return look
