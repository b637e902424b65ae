"""A diagnosis on 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from nvscope.probes.commands.doctor.checks import State
from nvscope.probes.commands.doctor.diagnosis import Diagnosis
from nvscope.probes.counts.snapshot import INCLUDES, Attachment
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.vms import names

WIDTH = 80
_STYLES = {State.OK: "green", State.NOTE: "yellow", State.LACK: "bold red"}
_STATE_WIDTH, _NAME_WIDTH, _LONGEST = 5, 16, 400  # in characters


def show(found: Diagnosis, console: Console) -> None:
    """Print it. A remedy is on a line of its own, below what it is for."""
    _print(console, f"nvscope doctor: {names.clean(found.host.name) or 'this host'}")
    for check in found.checks:
        _row(console, check.state, check.name, check.value, check.remedy)
    if found.attachments:
        said = "attached now, and detached again" if found.attached else "foreseen, not tried"
        _print(console, f"\nProbe points ({said})")
    for a in found.attachments:
        _row(console, _state(a), a.point, _hook(a), *_why(a))
    said = textwrap.fill(verdict(found), console.width)
    _print(console, f"\n{said}", "green" if found.metrics else "bold red")


def verdict(found: Diagnosis) -> str:
    """The last line."""
    if found.metrics and not found.missing:
        return "Metrics will flow: nvscope export"
    if found.metrics:
        points = ", ".join(a.point for a in found.missing)
        return f"Metrics will flow, without those of {points}: nvscope export"
    lacking = [check.name for check in found.checks if check.state is State.LACK]
    return f"No metrics here. Look at: {', '.join(lacking) or 'the probe points'}"


def _row(console: Console, state: State, name: str, value: str, *below: str) -> None:
    """A state, a name and what was found; then what is to be said of it, indented."""
    first, *rest = _wrapped(value, console.width)
    line = Text(f"{state:<{_STATE_WIDTH}}", style=_STYLES[state])
    _print(console, line.append(f"{name:<{_NAME_WIDTH}}{first}", style="default"))
    for line_below in [*rest, *(part for each in below for part in _wrapped(each, console.width))]:
        _print(console, f"{'':{_STATE_WIDTH + _NAME_WIDTH}}{line_below}")


def _wrapped(text: str, width: int) -> list[str]:
    """Lines, safe for a terminal: hosts and functions have names that others gave them."""
    room = width - _STATE_WIDTH - _NAME_WIDTH
    return textwrap.wrap(names.clean(text, _LONGEST), room, break_on_hyphens=False)


def _print(console: Console, text: str | Text, style: str = "") -> None:
    console.print(Text(text, style) if isinstance(text, str) else text, soft_wrap=True)


def _state(a: Attachment) -> State:
    if a.mechanism:
        return State.OK
    return State.NOTE if a.optional or BY_NAME[a.point].only_traced else State.LACK


def _hook(a: Attachment) -> str:
    use = " (for traces)" if BY_NAME[a.point].only_traced else ""
    return f"{a.mechanism} {a.hook}{use}" if a.mechanism else f"none{use}"


def _why(a: Attachment) -> Iterator[str]:
    """What was to be preferred, each reason once; then the remedy."""
    told = dict.fromkeys(refusal.why for refusal in a.refused)
    for why in told:
        by = [f"{r.mechanism} {r.hook}" for r in a.refused if r.why == why]
        yield f"not {', '.join(by)}: {why}"
    if a.includes:
        yield f"durations include {INCLUDES[a.includes]}"
    if not a.mechanism:
        yield a.remedy
