"""Where a probe shows what it measures while it runs: on a terminal, or as lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, Self

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from nvscope.probes.commands.probe import text
from nvscope.probes.commands.probe.meter import Asked, Interval
from nvscope.probes.commands.probe.slow import Slow


class View(Protocol):
    """What has just been measured is shown here. more: slow calls beside those in slow."""

    def show(self, now: Interval, sofar: Interval, slow: Sequence[Slow], more: int) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class LiveView:
    """A table that is kept up to date, and slow calls above it. It goes when it ends."""

    def __init__(self, console: Console, asked: Asked) -> None:
        self._console = console
        self._asked = asked
        self._live = Live(
            text.live(asked, Interval(), Interval()),
            console=console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="ellipsis",
        )

    def show(self, now: Interval, sofar: Interval, slow: Sequence[Slow], more: int) -> None:
        if slow:
            # At once: each print draws the table anew.
            self._console.print(Text("\n".join(_slow_lines(slow, more))))
        self._live.update(text.live(self._asked, now, sofar), refresh=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class LineView:
    """Lines for each interval. err: to standard error."""

    def __init__(self, *, err: bool) -> None:
        self._err = err

    def show(self, now: Interval, sofar: Interval, slow: Sequence[Slow], more: int) -> None:
        for each in (*_slow_lines(slow, more), *text.lines(now, time.time())):
            click.echo(each, err=self._err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def as_text(console: Console, shown: RenderableType) -> str:
    """As the console would print it: to be written by other means, that know of closed pipes."""
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def _slow_lines(slow: Sequence[Slow], more: int) -> list[str]:
    """more: slow calls of the interval that are not among these."""
    shown = [line for each in slow for line in each.lines()]
    return [*shown, f"({more:,} more slow calls in this interval)"] if more else shown
