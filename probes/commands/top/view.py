"""How `nvscope top` looks, and what its keys do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from nvscope.probes.commands import units
from nvscope.probes.commands.probe.text import lost_words
from nvscope.probes.commands.top.rates import SORTS, Rates, chosen, ordered

_ESCAPE, _ENTER, _ERASE = "\x1b", "\r\n", "\x7f\b"
# What a terminal sends for keys that have no character.
_SEQUENCE = re.compile(r"\x1b(?:\[[\d;]*[A-Za-z~]|O[A-Za-z])")
_MAX_FILTER = 60
KEYS = "s sort, r reverse, / filter, p pause, q quit"

# Heading -> what it is sorted by; the order of the columns.
_COLUMNS = {
    "VM": "vm",
    "unmaps/s": "unmaps",
    "full": "full",
    "locked/s": "locked",
    "refaults/s": "refaults",
}


@dataclass
class State:
    """What the user has chosen. typed: a filter that is being typed, None: none is."""

    sort: str = "locked"
    reverse: bool = False
    filter: str = ""
    paused: bool = False
    done: bool = False
    typed: str | None = None

    def press(self, keys: str) -> None:
        """Keys as they came in one read; arrows and the like mean nothing here."""
        for key in _SEQUENCE.sub("", keys):
            if self.typed is None:
                self._command(key)
            else:
                self._type(key)

    def _command(self, key: str) -> None:
        if key == "q":
            self.done = True
        elif key == "s":
            sorts = list(SORTS)
            self.sort = sorts[(sorts.index(self.sort) + 1) % len(sorts)]
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "p":
            self.paused = not self.paused
        elif key == "/":
            self.typed = ""

    def _type(self, key: str) -> None:
        assert self.typed is not None
        if key == _ESCAPE:
            self.typed = None
        elif key in _ENTER:
            self.filter, self.typed = self.typed, None
        elif key in _ERASE:
            self.typed = self.typed[:-1]
        elif key.isprintable() and len(self.typed) < _MAX_FILTER:
            self.typed += key


@dataclass(frozen=True)
class Frame:
    """What is shown at one time. seconds: that the rates are of."""

    rows: list[Rates]
    seconds: float
    lost: Mapping[str, int]


def screen(
    frame: Frame | None, state: State, height: int | None = None, *, keys: bool = True
) -> Group:
    """A frame as the user wants it; None: the first is not there yet. height: lines at hand; keys:
    say which there are.
    """
    typing = f"filter: {state.typed}_" if state.typed is not None else KEYS
    foot = [Text(typing)] if keys else []
    if frame is None:
        return Group(Text("nvscope top: measuring …"), *foot)
    rows = visible(frame, state)
    head = [f"nvscope top: {len(rows)} of {len(frame.rows)} VMs", f"over {frame.seconds:.1f} s"]
    head.append(lost_words(frame.lost))
    if state.filter:
        head.append(f"filter {state.filter!r}")
    if state.paused:
        head.append("PAUSED")
    # Beside the rows: two lines of text, three of the table, one to be safe.
    room = len(rows) if height is None else max(1, height - 6)
    return Group(Text(", ".join(head)), table(rows[:room], state), *foot)


def visible(frame: Frame, state: State) -> list[Rates]:
    """The rows that are asked for, in the order that is."""
    return ordered(chosen(frame.rows, state.filter), state.sort, state.reverse)


def table(rows: Iterable[Rates], state: State) -> Table:
    """A row for each VM; the column that it is sorted by is marked."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    for heading, sort in _COLUMNS.items():
        mark = ("↑" if state.reverse else "↓") if sort == state.sort else ""
        name = Text(heading + mark)
        if sort == "vm":
            shown.add_column(name, no_wrap=True, ratio=2)
        else:
            shown.add_column(name, no_wrap=True, justify="right")
    shown.add_column("why full", overflow="fold", ratio=3)
    for row in rows:
        shown.add_row(*map(Text, _cells(row)))
    return shown


def _cells(row: Rates) -> Iterable[str]:
    yield row.vm.label
    yield _number(row.unmaps)
    yield "" if row.full_share is None else f"{units.digits(100 * row.full_share)} %"
    yield _time(row.locked_seconds)
    yield _time(row.refault_seconds)
    yield " ".join(f"{why} {units.digits(n)}" for why, n in sorted(row.fallbacks.items()))


def _number(value: float) -> str:
    return units.digits(value) if value else "0"


def _time(seconds: float) -> str:
    """Seconds in each second."""
    return units.duration(seconds * 1e9) if seconds else "0"
