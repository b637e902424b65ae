"""A host that is watched while tasks run in it: its trace, its console, and ftrace's counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.vm import Lab
from nvscope.lab.series.checks import judge
from nvscope.lab.series.checks.facts import UNKNOWN, Facts
from nvscope.lab.series.checks.outcome import FAILED, NOT_TRIED, PASSED, Item, Problem, Step
from nvscope.lab.series.checks.recording import Recording
from nvscope.lab.truth.oracle import READ_COMMAND, parse_all
from nvscope.lab.truth.witness import differences

CONSOLE_LINES = 40  # of a complaint, or of what a guest said at last
DYING_SECONDS = 5.0  # until a guest that crashed is seen to be gone
TRACE = "trace"  # the item that has what is of no task


class Watch:
    """What tasks run in. trace: where the recording goes."""

    def __init__(self, host: Lab, facts: Facts, trace: Path) -> None:
        self.host, self.facts = host, facts
        self._trace = trace
        self._complaints = len(host.warnings())
        self._names: dict[int, str] = {}  # by process

    def run(self, check: str, tasks: Mapping[str, Task], *, races: bool = False) -> Step:
        """An item for each task, and one for the trace. Raises GuestError where it cannot begin.

        races: mappings are made while they are unmapped, of which a trace cannot tell all.
        """
        items: list[Item] = []
        with Recording(self.host, self._trace, strict=self.facts.revmap != UNKNOWN) as recording:
            if self.facts.traces:
                self.host.run("python3 -m nvscope.lab.truth.oracle start")
            for name, task in tasks.items():
                if self.host.alive():
                    items.append(self._item(name, task))
                else:
                    why = f"the guest was gone after {items[-1].name}"
                    items.append(Item(name, NOT_TRIED, why=why))
            cut_short = self._end(recording)
        return self._judged(check, items, cut_short, races)

    def belongs(self, pid: int, name: str) -> None:
        """What the trace shows of this process is of the task `name`."""
        self._names[pid] = name

    def wrong_counts(self, facts: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Where ftrace has counted otherwise than a workload's facts say."""
        if not self.facts.traces:
            return ()
        seen = parse_all(self.host.run(READ_COMMAND).stdout)
        said = tuple(differences(facts, seen))
        more = f", and {len(said) - 1} more" if len(said) > 1 else ""
        return (Problem("counts", f"ftrace counted {said[0]}{more}", said),) if said else ()

    def _item(self, name: str, task: Task) -> Item:
        started = time.monotonic()
        try:
            problems = task(self)
        except GuestError as error:
            problems = self._lost(error)
        problems += self._complained()
        outcome = FAILED if problems else PASSED
        return Item(name, outcome, problems, seconds=time.monotonic() - started)

    def _lost(self, error: GuestError) -> tuple[Problem, ...]:
        first, *rest = str(error).splitlines()
        deadline = time.monotonic() + DYING_SECONDS
        while self.host.alive() and time.monotonic() < deadline:
            time.sleep(0.2)
        kind = "hang" if self.host.alive() else "crash"
        return (Problem(kind, first, tuple(rest[-CONSOLE_LINES:])),)

    def _complained(self) -> tuple[Problem, ...]:
        """What the kernel has complained of since the last time."""
        new = self.host.warnings()[self._complaints :]
        self._complaints += len(new)
        if not new:
            return ()
        console = self.host.console()
        shown = console[console.index(new[0]) :].splitlines()[:CONSOLE_LINES]
        return (Problem("complaint", new[0].strip(), tuple(shown)),)

    def _end(self, recording: Recording) -> str:
        """Why the trace is not whole, or ""."""
        if not self.host.alive():
            return "the guest was gone before its end"
        try:
            recording.finish()
            if self.facts.traces:
                self.host.run("python3 -m nvscope.lab.truth.oracle stop")
        except GuestError as error:
            return str(error).splitlines()[0]
        return ""

    def _judged(self, check: str, items: Sequence[Item], cut_short: str, races: bool) -> Step:
        found = judge.judge(self._trace, self.facts.revmap)
        by_name: dict[str, tuple[Problem, ...]] = {}
        for pid, problems in found.problems.items():
            name = self._names.get(pid, TRACE)
            by_name[name] = by_name.get(name, ()) + problems
        judged = tuple(_with(item, by_name.get(item.name, ())) for item in items)
        rest = by_name.get(TRACE, ())
        doubt = cut_short or found.doubt or ("" if races else found.raced)
        outcome = FAILED if rest else NOT_TRIED if doubt else PASSED
        trace = Item(TRACE, outcome, rest, why=doubt or found.raced, said=found.said)
        return Step(check, (*judged, trace), figures=found.figures)


# Runs in a watched host, and says what is wrong. Raises GuestError.
Task = Callable[[Watch], tuple[Problem, ...]]


def _with(item: Item, problems: tuple[Problem, ...]) -> Item:
    # The trace's come first: they say what went wrong, the others what came of it.
    if not problems:
        return item
    return replace(item, outcome=FAILED, problems=problems + item.problems)
