"""Tasks in a watched host, without one: what a crash, a complaint and wrong counts become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from nvscope.lab.host.remote import GuestError
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks import judge, watch
from nvscope.lab.series.checks.judge import Judgement
from nvscope.lab.series.checks.outcome import FAILED, NOT_TRIED, PASSED, Problem, Step
from nvscope.lab.series.checks.watch import TRACE, Watch
from tests.unit.lab.series.story import facts
from tests.unit.lab.truth.witnessed import facts as workload
from tests.unit.lab.truth.witnessed import seen

SURVIVOR = Problem("violation", "safety: a survivor")


class FakeHost:
    """A guest whose console and end the test has in hand."""

    def __init__(self) -> None:
        self.said, self.there, self.histograms = "[ 1.0] fine\n", True, ""

    def alive(self) -> bool:
        return self.there

    def console(self) -> str:
        return self.said

    def warnings(self) -> list[str]:
        return [line for line in self.said.splitlines() if "BUG:" in line]

    def run(self, command: str, **_: object) -> Any:
        if not self.there:
            raise GuestError("the guest was lost")
        return SimpleNamespace(stdout=self.histograms)


class FakeRecording:
    fails = False

    def __init__(self, *_: object, **__: object) -> None: ...

    def finish(self) -> None:
        if self.fails:
            raise GuestError("`nvscope record` failed:\nbecause")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    monkeypatch.setattr(watch, "Recording", FakeRecording)
    monkeypatch.setattr(watch, "DYING_SECONDS", 0.0)
    monkeypatch.setattr(judge, "judge", lambda *_: Judgement({}, "", "judged: safety 1"))
    yield FakeHost()


def run(host: Any, *, races: bool = False, **tasks: Any) -> Step:
    found = kernels.of_json(facts("k", "on"))
    return Watch(host, found, Path("t")).run("cases", tasks, races=races)


def passes(_: Watch) -> tuple[Problem, ...]:
    return ()


def test_all_is_well(host: FakeHost) -> None:
    step = run(host, one=passes, two=passes)
    assert [(item.name, item.outcome) for item in step.items] == [
        ("one", PASSED),
        ("two", PASSED),
        (TRACE, PASSED),
    ]


def test_a_guest_that_is_gone_ends_what_comes_after_it(host: FakeHost) -> None:
    def crashes(_: Watch) -> tuple[Problem, ...]:
        host.there = False
        raise GuestError("the guest was lost; its console:\nKernel panic")

    one, two, three, trace = run(host, one=passes, two=crashes, three=passes).items
    assert (one.outcome, two.outcome, three.outcome) == (PASSED, FAILED, NOT_TRIED)
    assert two.problems == (
        Problem("crash", "the guest was lost; its console:", ("Kernel panic",)),
    )
    assert three.why == "the guest was gone after two"
    assert (trace.outcome, trace.why) == (NOT_TRIED, "the guest was gone before its end")


def test_a_complaint_is_of_the_task_in_which_it_came(host: FakeHost) -> None:
    def complains(_: Watch) -> tuple[Problem, ...]:
        host.said += "[ 2.0] BUG: KASAN: oh\n[ 2.1] more of it\n"
        return ()

    one, two, *_ = run(host, one=complains, two=passes).items
    assert one.problems == (
        Problem(
            "complaint", "[ 2.0] BUG: KASAN: oh", ("[ 2.0] BUG: KASAN: oh", "[ 2.1] more of it")
        ),
    )
    assert two.outcome == PASSED


def test_a_guest_that_says_nothing_hangs(host: FakeHost) -> None:
    def hangs(_: Watch) -> tuple[Problem, ...]:
        raise GuestError("`x` said nothing for 300 s")

    assert run(host, one=hangs).items[0].problems[0].kind == "hang"


def test_findings_come_first_and_to_their_task(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Problem("data", "wrong data")

    def owns(seen: Watch) -> tuple[Problem, ...]:
        seen.belongs(7, "one")
        return (wrong,)

    found = Judgement({7: (SURVIVOR,), 8: (SURVIVOR,)}, "", "", {"needed": 1})
    monkeypatch.setattr(judge, "judge", lambda *_: found)
    step = run(host, one=owns)
    one, trace = step.items
    assert one.problems == (SURVIVOR, wrong)
    assert (trace.outcome, trace.problems) == (FAILED, (SURVIVOR,))  # whose process is not known
    assert step.figures == {"needed": 1}


@pytest.mark.parametrize(("races", "outcome"), [(True, PASSED), (False, NOT_TRIED)])
def test_a_race_leaves_something_open(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, races: bool, outcome: str
) -> None:
    found = Judgement({}, "", "judged: safety 500", raced="safety: made meanwhile (24)")
    monkeypatch.setattr(judge, "judge", lambda *_: found)
    one, trace = run(host, one=passes, races=races).items
    assert (one.outcome, trace.outcome, trace.why) == (PASSED, outcome, found.raced)


def test_a_recording_that_fails_is_a_doubt(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRecording, "fails", True)
    one, trace = run(host, one=passes).items
    assert (one.outcome, trace.outcome) == (PASSED, NOT_TRIED)
    assert trace.why == "`nvscope record` failed:"


def test_wrong_counts(host: FakeHost) -> None:
    lines = [
        f"== {event}\n" + "".join(f"{{ k: {key} }} hitcount: {n}\n" for key, n in keys.items())
        for event, keys in seen(notifier={"77": 2}).items()
        if event != "shadow_unmap"
    ]
    host.histograms = "".join(lines)

    def counts(seen: Watch) -> tuple[Problem, ...]:
        return seen.wrong_counts(workload())

    (problem,) = run(host, one=counts).items[0].problems
    assert problem.kind == "counts"
    assert problem.lines == ("full_unmaps_in_notifier: 0, not 1", "notifier_unmaps: 2, not 1")
    assert problem.said.endswith("full_unmaps_in_notifier: 0, not 1, and 1 more")
