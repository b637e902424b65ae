"""Which checks apply to which kernels, and what each then runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nvscope.lab.runs import selftests
from nvscope.lab.series.checks import checks, starving
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks.checks import CHECKS, Trial
from nvscope.lab.series.checks.outcome import INAPPLICABLE, LEFT_OUT, PASSED, Item, Step
from nvscope.lab.series.checks.play import Play
from nvscope.lab.series.checks.sizes import Sizes
from nvscope.lab.series.checks.watch import Task
from nvscope.lab.workloads.cases.cases import CASES
from tests.unit.lab.series.story import facts

INJECTING = {name for name, case in CASES.items() if case.injects}


class FakeWatch:
    """Passes every task; what it was given is in `tasks`."""

    tasks: Mapping[str, Task]
    races: bool

    def __init__(self, *_: object) -> None: ...

    def run(self, check: str, tasks: Mapping[str, Task], *, races: bool = False) -> Step:
        FakeWatch.tasks, FakeWatch.races = tasks, races
        return Step(check, tuple(Item(name, PASSED) for name in tasks))


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "Watch", FakeWatch)


def ran(check: str, revmap: str, quick: bool = False, **changes: Any) -> dict[str, list[str]]:
    """Outcome -> the items that have it, of a check on a kernel."""
    fields = {"tested": False, "no_linux": ""}
    trial_fields = {name: changes.pop(name) for name in fields if name in changes}
    found = kernels.of_json({**facts("k", revmap), **changes})
    host: Any = object()
    trial = Trial(host, found, Sizes(quick, (1, 2)), Path("t"), **(fields | trial_fields))
    step = CHECKS[check].run(trial)
    assert step.check == check
    outcomes: dict[str, list[str]] = {}
    for item in step.items:
        outcomes.setdefault(item.outcome, []).append(item.name)
        assert item.why or item.outcome == PASSED
    return outcomes


def test_cases_whose_stores_fail_need_stores_that_can() -> None:
    assert set(ran("cases", "on")[PASSED]) == set(CASES)
    assert set(ran("cases", "none", unmap_seconds=0.1)[INAPPLICABLE]) == INJECTING
    assert set(ran("cases", "unknown")[INAPPLICABLE]) == INJECTING


def test_on_a_slow_kernel_what_does_not_fit_is_left_out() -> None:
    quick = ran("cases", "none", quick=True)
    assert quick[LEFT_OUT] and quick[PASSED]
    assert set(quick[PASSED]) | set(quick[LEFT_OUT]) == set(CASES) - INJECTING
    assert ran("races", "none", quick=True) == {LEFT_OUT: ["races"]}
    assert ran("races", "none") == {PASSED: ["race"]}
    assert FakeWatch.races
    ran("random", "none")
    assert not FakeWatch.races


@pytest.mark.parametrize(
    ("revmap", "failslab", "outcomes"),
    [
        ("on", True, {PASSED: ["failures", "starved"]}),
        ("on", False, {PASSED: ["failures"], INAPPLICABLE: ["starved"]}),
        ("unknown", True, {PASSED: ["starved"], INAPPLICABLE: ["failures"]}),
        ("unknown", False, {INAPPLICABLE: ["failures", "starved"]}),
        ("off", True, {INAPPLICABLE: ["failures"]}),
        ("none", True, {INAPPLICABLE: ["failures"]}),
    ],
)
def test_failures(revmap: str, failslab: bool, outcomes: dict[str, list[str]]) -> None:
    assert ran("failures", revmap, failslab=failslab) == outcomes


def test_selftests_and_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran("selftests", "none") == {INAPPLICABLE: ["selftests"]}
    result = selftests.Result("", "passed", 0, 1.0)
    monkeypatch.setattr(selftests, "run", lambda *_: result)
    names = [test.name for test in selftests.SELFTESTS]
    assert ran("selftests", "on", tested=True) == {PASSED: names}
    quick = ran("selftests", "on", quick=True, tested=True)
    assert set(quick[PASSED]) | set(quick[LEFT_OUT]) == set(names)
    assert ran("linux", "on") == {PASSED: ["linux"]}
    assert ran("linux", "on", quick=True) == {LEFT_OUT: ["linux"]}
    assert ran("linux", "on", no_linux="no 9p") == {INAPPLICABLE: ["linux"]}
    assert ran("linux", "none") == {LEFT_OUT: ["linux"]}


def test_of_an_unknown_reverse_map_workloads_expect_only_what_must_hold() -> None:
    on, unknown = (kernels.of_json(facts("k", revmap)) for revmap in ("on", "unknown"))
    play = Play("seed-1", "shuffle", ("--seed", "1"))
    assert "--unknown-map" not in play.command(on)
    assert "--unknown-map" in play.command(unknown)
    starved = Play("starved", "main", starved="maple_node")
    assert "--unknown-map" in starved.command(on)
    assert "make-it-fail" in starved.command(on)


def test_where_it_is_known_what_a_reverse_map_is_made_of_that_alone_fails() -> None:
    trees, all_of_them = (starving.script(50, slab) for slab in ("maple_node", starving.ANY))
    assert "maple_node" in trees and "echo Y > /sys/kernel/debug/failslab/cache-filter" in trees
    assert "/sys/kernel/slab" not in all_of_them
    assert "echo N > /sys/kernel/debug/failslab/cache-filter" in all_of_them
