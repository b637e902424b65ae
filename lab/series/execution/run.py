"""A plan, carried out: step by step, each kept once it is whole, none done twice."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from rich.markup import escape

from nvscope.lab.assets import Assets
from nvscope.lab.host.complaints import complaints
from nvscope.lab.host.remote import GuestError
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks.checks import CHECKS, Trial
from nvscope.lab.series.checks.facts import Facts
from nvscope.lab.series.checks.outcome import (
    FAILED,
    NOT_TRIED,
    PASSED,
    Item,
    Problem,
    Step,
    failed,
    not_tried,
)
from nvscope.lab.series.execution.plan import HOST, Plan
from nvscope.lab.series.execution.store import Store
from nvscope.lab.series.subjects.candidate import Candidate
from nvscope.lab.series.subjects.hosts import Hosts
from nvscope.lab.setup import steps
from nvscope.probes.errors import InputError, LackError

Key = tuple[int, str]  # a candidate's number, and a check
_CRASHED = ("Kernel panic", "Internal error")


class Run:
    """done: the steps that are, by key."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._store = plan, store
        self.done: dict[Key, Step] = {}
        for key in plan.steps():
            if step := store.get(*key):
                self.done[key] = step

    def all(self) -> None:
        """Do what is left to do: first make all kernels, so that what is missing is known soon."""
        left = {
            number: [
                check for check in (HOST, *self._plan.checks) if (number, check) not in self.done
            ]
            for number in range(len(self._plan.candidates))
        }
        ready = {number: self._made(number, checks) for number, checks in left.items() if checks}
        for number, made in ready.items():
            if made:
                self._try(number, made, left[number])

    def _made(self, number: int, left: list[str]) -> Assets | None:
        candidate = self._plan.candidates[number]
        try:
            return candidate.prepare(with_selftests=candidate.own and "selftests" in left)
        except LackError as error:
            self._give_up(number, left, error.message)
            return None

    def _try(self, number: int, ready: Assets, left: list[str]) -> None:
        candidate = self._plan.candidates[number]
        with Hosts(candidate, ready) as hosts:
            facts = self._facts(number, candidate, hosts)
            if facts is None:
                self._give_up(number, left, "the kernel did not boot to where it can be tried")
                return
            for check in left:
                if check != HOST:
                    self._check(number, check, hosts, facts, candidate.own)

    def _facts(self, number: int, candidate: Candidate, hosts: Hosts) -> Facts | None:
        """What the kernel is, kept or found out; None where it does not boot."""
        kept = self.done.get((number, HOST))
        if kept is None:
            with steps.step(*self._title(number, HOST, "boot, and what the kernel is")):
                kept = self._looked(candidate, hosts)
            self._keep(number, kept)
        if not kept.facts:
            return None
        facts = kernels.of_json(kept.facts)
        if facts.image != hosts.image():
            raise InputError(
                f"{candidate.name} is another kernel now than the results in"
                f" {self._store.folder} are of: choose another folder by --out"
            )
        return facts

    def _looked(self, candidate: Candidate, hosts: Hosts) -> Step:
        started = time.monotonic()
        try:
            host = hosts.get(icount=False)
            found = kernels.read(host, packaged=candidate.packaged)
        except GuestError as error:
            return Step(HOST, (_lost(HOST, error),), time.monotonic() - started)
        problems = []
        if found.trouble:
            problems.append(Problem("data", f"the first take-back: {found.trouble}"))
        if warnings := host.warnings():
            problems.append(Problem("complaint", warnings[0].strip(), tuple(warnings)))
        item = failed(HOST, *problems) if problems else Item(HOST, PASSED)
        if problems:
            hosts.end()
        facts = replace(found, image=hosts.image()).as_json()
        return Step(HOST, (item,), time.monotonic() - started, facts)

    def _check(self, number: int, name: str, hosts: Hosts, facts: Facts, tested: bool) -> None:
        check, started = CHECKS[name], time.monotonic()
        with steps.step(*self._title(number, name, check.title)):
            try:
                host = hosts.get(icount=check.icount)
                trace = self._store.trace(number, name)
                step = check.run(
                    Trial(host, facts, self._plan.sizes, trace, tested, hosts.no_linux())
                )
            except GuestError as error:
                step = Step(name, (_lost(name, error),))
        if step.outcome in (FAILED, NOT_TRIED):
            hosts.end()
        self._keep(number, replace(step, seconds=time.monotonic() - started))

    def _keep(self, number: int, step: Step) -> None:
        """What could not be tried is not kept: it is tried again by --resume."""
        self.done[number, step.check] = step
        if step.outcome != NOT_TRIED:
            self._store.put(number, step)
        _say(step.items)

    def _give_up(self, number: int, left: Iterable[str], why: str) -> None:
        for check in left:
            if (number, check) not in self.done:
                self.done[number, check] = not_tried(check, why)
        name = self._plan.candidates[number].name
        steps.console.print(f"         not tried: {name}: {why}", markup=False)

    def _title(self, number: int, check: str, title: str) -> tuple[str, str]:
        """What is done, and how long all takes from now on."""
        keys = self._plan.steps()
        known = {
            n: kernels.of_json(step.facts)
            for (n, name), step in self.done.items()
            if name == HOST and step.facts
        }
        left = self._plan.seconds((key for key in keys if key not in self.done), known)
        at = keys.index((number, check)) + 1
        name = escape(self._plan.candidates[number].name)
        return f"[{at}/{len(keys)}] {name}: {title}", f"(about {_minutes(left)} left)"


def _lost(name: str, error: GuestError) -> Item:
    """What a guest that is gone, or does not answer, says of a kernel."""
    first, *rest = str(error).splitlines()
    text = str(error)
    if complaints(text) or any(sign in text for sign in _CRASHED):
        return failed(name, Problem("crash", first, tuple(rest)))
    return Item(name, NOT_TRIED, why=first)


def _say(items: Iterable[Item]) -> None:
    """What did not pass, a line each."""
    for item in items:
        for problem in item.problems[:1]:
            line = f"         FAILED {item.name}: {problem.kind}: {problem.said}"
            steps.console.print(line, markup=False)
        if item.outcome == NOT_TRIED:
            steps.console.print(f"         not tried: {item.name}: {item.why}", markup=False)


def _minutes(seconds: float) -> str:
    """As people say it.

    >>> _minutes(20), _minutes(400)
    ('1 min', '7 min')
    """
    return f"{max(1, round(seconds / 60))} min"
