"""What a probe measured, for people: a table, histograms, a line for each group."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from nvscope.probes.commands import units
from nvscope.probes.commands.probe.meter import Asked, Interval
from nvscope.probes.counts.durations import PERCENTILES, bounds, percentile, total
from nvscope.probes.counts.snapshot import SLOTS, Durations

# What the bounds of a percentile are worth, in one sentence.
HOW_EXACT = "A percentile lies below the bound shown, and not below half of it."
_BAR = 40  # characters
LIVE_GROUPS = 10  # that a live table shows


def below(durations: Durations, name: str) -> str:
    """The bound that a percentile lies below.

    >>> below(Durations(1, 300, tuple(int(i == 9) for i in range(SLOTS))), "50")
    '<512 ns'
    """
    low, high = percentile(durations, PERCENTILES[name])
    return f"≥{units.duration(low)}" if low == bounds(SLOTS - 1)[0] else f"<{units.duration(high)}"


def lost_words(lost: Mapping[str, int]) -> str:
    """What was lost, by cause.

    >>> lost_words({"vm_full": 0}), lost_words({"vm_full": 2, "recursion": 1})
    ('none lost', '3 lost (vm_full 2, recursion 1)')
    """
    some = {cause: n for cause, n in lost.items() if n}
    if not some:
        return "none lost"
    return f"{sum(some.values()):,} lost ({', '.join(f'{c} {n:,}' for c, n in some.items())})"


def table(interval: Interval, by: Sequence[str], limit: int | None = None) -> Table:
    """A row for each group, those with most calls first. limit: of rows, None: all."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for axis in by:
        shown.add_column(axis, overflow="fold", min_width=len(axis))
    for name in ("calls", "per s", "mean", *(f"p{each}" for each in PERCENTILES)):
        shown.add_column(name, justify="right", no_wrap=True)
    groups = _by_calls(interval)
    for labels, durations in groups[:limit]:
        cells = (
            f"{durations.count:,}",
            units.digits(durations.count / interval.seconds) if interval.seconds else "",
            units.duration(durations.sum_ns / durations.count),
            *(below(durations, name) for name in PERCENTILES),
        )
        # As they are: a VM's name may look like markup.
        shown.add_row(*map(Text, (*labels, *cells)))
    if limit is not None and len(groups) > limit:
        shown.caption = f"{len(groups) - limit} groups more"
    return shown


def histogram(durations: Durations) -> list[str]:
    """A line for each slot from the first to the last that has any.

    >>> histogram(Durations(3, 1000, tuple({9: 2, 11: 1}.get(i, 0) for i in range(SLOTS))))[0]
    '  256 ns -   512 ns         2 |****************************************|'
    """
    used = [slot for slot, n in enumerate(durations.slots) if n]
    most = max(durations.slots)
    lines = []
    for slot in range(used[0], used[-1] + 1) if used else ():
        low, high = bounds(slot)
        end = "" if slot == SLOTS - 1 else units.duration(high)
        n = durations.slots[slot]
        bar = "*" * -(-n * _BAR // most)
        lines.append(f"{units.duration(low):>8} - {end:>8} {n:>9,} |{bar:<{_BAR}}|")
    return lines


def line(labels: Sequence[str], durations: Durations) -> str:
    """A group's interval, in one line."""
    percentiles = " ".join(f"p{name}{below(durations, name)}" for name in ("50", "99", "99.9"))
    mean = units.duration(durations.sum_ns / durations.count)
    return f"{' '.join(labels)}: {durations.count:,} calls, mean {mean}, {percentiles}"


def lines(interval: Interval, unix_seconds: float) -> list[str]:
    """An interval, a line for each group; one line where nothing came."""
    clock = time.strftime("%H:%M:%S", time.localtime(unix_seconds))
    found = [f"{clock} {line(*group)}" for group in _by_calls(interval)] or [f"{clock} no calls"]
    if any(interval.lost.values()):
        found.append(f"{clock} {lost_words(interval.lost)}")
    return found


def live(asked: Asked, now: Interval, sofar: Interval) -> Group:
    """The screen while it runs: the last interval's rate, and all so far."""
    rate = sum(d.count for d in now.groups.values()) / now.seconds if now.seconds else 0
    head = (
        f"{asked.kind.name}: {sofar.seconds:.0f} s, {units.digits(rate)} calls/s now,"
        f" {lost_words(sofar.lost)} (Ctrl-C ends it)"
    )
    rows = Text("\n".join(histogram(total(sofar.groups.values()))), no_wrap=True)
    return Group(Text(head), table(sofar, asked.by, LIVE_GROUPS), rows)


def summary(asked: Asked, sofar: Interval) -> Group:
    """All that was measured: the table, a histogram for each group, and what was lost."""
    calls = sum(d.count for d in sofar.groups.values())
    head = f"{asked.kind.name}: {calls:,} calls in {sofar.seconds:.1f} s, {lost_words(sofar.lost)}"
    parts: list[Text | Table] = [Text(head)]
    if calls:
        parts.append(table(sofar, asked.by))
        parts.append(Text(HOW_EXACT))
    for labels, durations in _by_calls(sofar):
        name = " ".join(f"{axis}={value}" for axis, value in zip(asked.by, labels, strict=True))
        parts.append(Text("\n".join(["", name, *histogram(durations)]), no_wrap=True))
    return Group(*parts)


def _by_calls(interval: Interval) -> list[tuple[tuple[str, ...], Durations]]:
    return sorted(interval.groups.items(), key=lambda group: (-group[1].count, group[0]))
