"""An exporter's metrics as they change: a live table, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.text import Text

from nvscope.lab.host.services import Exporter
from nvscope.lab.runs import view
from nvscope.lab.setup.steps import console

EMULATED = "durations are of an emulated machine: for the proportions, not for performance"
LINES_SECONDS = 5.0
NOTES_SECONDS = 20.0


@dataclass(frozen=True)
class Span:
    """How long to watch.

    words: the same for readers; over: whether it is, after so many seconds; note: a line to show
    besides, which may change; scrape_seconds: between the scrapes of a live table.
    """

    words: str
    over: Callable[[float], bool]
    note: Callable[[], str] = lambda: ""
    scrape_seconds: float = 1.0


def lasting(length: float | None) -> Span:
    """So many seconds; None: without an end."""
    if length is None:
        return Span("until Ctrl-C", lambda _: False)
    return Span(f"for {length:.0f} s; Ctrl-C ends it earlier", lambda passed: passed >= length)


def watch(exporter: Exporter, span: Span) -> None:
    """Show the metrics for that long."""
    console.print(f"the metrics as they change, {span.words}")
    if console.is_terminal:
        _live(exporter, span)
    else:
        _lines(exporter, span)


def _live(exporter: Exporter, span: Span) -> None:
    began = time.monotonic()
    before: tuple[float, list[view.ViewRow]] = (began, [])
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            at, now = time.monotonic(), view.rows(exporter.scrape())
            title = f"scraped from {exporter.url}"
            table = view.table(now, before[1], at - before[0], title)
            notes = [Text(text) for text in (span.note(),) if text]
            live.update(Group(table, Text(EMULATED, style="dim"), *notes), refresh=True)
            if span.over(time.monotonic() - began):
                return
            before = (at, now)
            time.sleep(span.scrape_seconds)


def _lines(exporter: Exporter, span: Span) -> None:
    """A line for each VM that has changed, and now and then the note."""
    began = time.monotonic()
    shown: set[str] = set()
    note, noted = "", -NOTES_SECONDS
    while True:
        now = [view.line(row) for row in view.rows(exporter.scrape())]
        for line in now:
            if line not in shown:
                console.print(line, markup=False)
        shown = set(now)
        if span.note() != note and time.monotonic() - noted >= NOTES_SECONDS:
            note, noted = span.note(), time.monotonic()
            console.print(note, markup=False)
        if span.over(time.monotonic() - began):
            return
        time.sleep(LINES_SECONDS)
