"""A comparison for people: tables of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nvscope.analysis.compare.caveats import title
from nvscope.analysis.compare.compared import Comparison, Verdict
from nvscope.analysis.compare.conditions import DOUBT, YES
from nvscope.analysis.compare.metrics import Estimate, MetricRow
from nvscope.analysis.units import duration, name


def show(found: Comparison, console: Console) -> None:
    """Print it."""
    percent = f"{found.plan.confidence * 100:g} %"
    console.print(Text(f"{name(found.a.probe)}: A, B, and how B differs ({percent} intervals)"))
    console.print(_runs(found))
    for labels, rows in found.groups.items():
        console.print(_group(title(labels), rows, percent))
    for verdict in found.verdicts:
        console.print(Text(_verdict(verdict)), soft_wrap=True)


def _table(heading: str = "") -> Table:
    # Text: what others chose as a name is no markup.
    title = Text(heading) if heading else None
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)


def _runs(found: Comparison) -> Table:
    table = _table()
    for heading in ("", "run", "kernel", "revmap"):
        table.add_column(heading, overflow="fold")
    for heading in ("seconds", "calls", "lost"):
        table.add_column(heading, justify="right")
    for letter, run in (("A", found.a), ("B", found.b)):
        calls, lost = run.total().durations.count, run.events_lost
        words = [Text(name(word)) for word in (run.name, run.kernel, run.revmap)]
        table.add_row(letter, *words, f"{run.seconds:.1f}", f"{calls:,}", f"{lost:,}")
    return table


def _group(heading: str, rows: tuple[MetricRow, ...], percent: str) -> Table:
    table = _table(heading)
    table.add_column("")
    for heading in ("A", "B", "B - A", percent, "B / A", percent):
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: MetricRow) -> Iterator[str]:
    yield row.metric
    yield value(row.a.value, row.unit)
    yield value(row.b.value, row.unit)
    yield value(row.difference.value, row.unit, signed=True)
    yield interval(row.difference, row.unit, signed=True)
    yield value(row.ratio.value, "x")
    yield interval(row.ratio, "x")


def value(number: float, unit: str, signed: bool = False) -> str:
    """A value with its unit: "ns", "/s", "" or "x" (a ratio, which shows none).

    >>> value(1500, "ns"), value(-2e6, "ns", signed=True), value(3, "", signed=True)
    ('1.5 µs', '-2 ms', '+3')
    >>> value(0.123456, "x"), value(12.5, "/s"), value(math.nan, "ns")
    ('0.123', '12.5/s', '-')
    """
    if math.isnan(number):
        return "-"
    sign = "-" if number < 0 else "+" if signed and number > 0 else ""
    size = abs(number)
    if math.isinf(size):
        return f"{sign}∞"
    if unit == "ns":
        return sign + duration(size)
    text = f"{size:,.0f}" if size >= 1000 or size == int(size) else f"{size:.3g}"
    return f"{sign}{text}{'' if unit == 'x' else unit}"


def interval(of: Estimate, unit: str, signed: bool = False) -> str:
    """From low to high; of what is known exactly nothing.

    >>> interval(Estimate(2, 1, math.inf), "x"), interval(Estimate(2, 2, 2), "x")
    ('1 … ∞', '')
    """
    if of.low == of.high:
        return ""
    return f"{value(of.low, unit, signed)} … {value(of.high, unit, signed)}"


def _verdict(verdict: Verdict) -> str:
    found = verdict.condition.judged(verdict.row)
    unit = "x" if verdict.condition.form == "ratio" else verdict.row.unit
    signed = verdict.condition.form == "difference"
    said = {YES: "beyond doubt", DOUBT: "in doubt"}.get(verdict.holds, "beyond doubt not so")
    shown = value(found.value, unit, signed)
    if within := interval(found, unit, signed):
        shown += f" ({within})"
    word = "FAILED" if verdict.failed else "ok"
    where = title(verdict.labels)
    return f"{word}: {name(verdict.condition.text)}, {where}: {shown}, {said}"
