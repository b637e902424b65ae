"""What a terminal shows of a recording, while it lasts and at its end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from nvscope.probes.errors import notice

if TYPE_CHECKING:
    from nvscope.probes.commands.record.recorder import Progress


@contextlib.contextmanager
def status_line(console: Console, progress: Progress, began: float) -> Iterator[Callable[[], None]]:
    """A line that is kept up to date, on a terminal."""
    if not console.is_terminal:
        yield lambda: None
        return
    with console.status("") as status:
        last = [began, 0.0]  # time, events

        def show() -> None:
            now = time.monotonic()
            if now - last[0] < 1:
                return
            rate = (progress.events - last[1]) / (now - last[0])
            last[:] = [now, progress.events]
            status.update(
                f"{progress.events:,} events, {rate:,.0f}/s, {_lost(progress)},"
                f" {progress.written_bytes / (1 << 20):.1f} MiB, {now - began:.0f} s"
                " (Ctrl-C ends it)"
            )

        yield show


def _lost(progress: Progress) -> str:
    if not progress.lost:
        return "none lost"
    causes = ", ".join(f"{cause} {n:,}" for cause, n in progress.lost.items())
    return f"{sum(progress.lost.values()):,} lost ({causes})"


def say_summary(progress: Progress, output: Path | None) -> None:
    """Say what was recorded and lost. output: its file; None: standard output."""
    where = _name(output)
    files = f" ({progress.files} files)" if progress.files > 1 else ""
    notice(
        f"{progress.events:,} events, {_lost(progress)},"
        f" {progress.written_bytes:,} bytes in {where}{files}"
    )
    if "ring_full" in progress.lost:
        click.echo("nvscope: a larger --buffer loses less", err=True)


def cut_short(error: OSError, output: Path | None) -> str:
    """Why a recording ended early, for a LackError."""
    return f"{_name(output)}: {error.strerror}; what was written before that is readable"


def _name(output: Path | None) -> str:
    return "standard output" if output is None else str(output)
