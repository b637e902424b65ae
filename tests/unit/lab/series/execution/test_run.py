"""A series, carried out: what is done is kept, and no step is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.lab.series.checks import checks
from nvscope.lab.series.checks.checks import Check, Trial
from nvscope.lab.series.checks.outcome import (
    FAILED,
    NOT_TRIED,
    PASSED,
    Item,
    Step,
)
from nvscope.lab.series.execution.plan import HOST, Plan, joined, plan, plan_of
from nvscope.lab.series.execution.run import Run
from nvscope.lab.series.execution.store import Store
from nvscope.lab.series.subjects.candidate import Candidate
from nvscope.probes.errors import InputError, LackError
from tests.unit.lab.series.execution.fake_hosts import FakeHosts
from tests.unit.lab.series.story import facts


def go(asked: Plan, store: Store, *, resume: bool = False) -> Run:
    with store.open(asked.asked(), resume=resume):
        found = Run(asked, store)
        found.all()
        return found


def test_what_was_interrupted_goes_on_where_it_was(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(["lab", "lab:revmap=off"], ["cases", "random", "cost"])

    def interrupted(_: Trial) -> Step:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(checks.CHECKS, "random", Check("random", "", interrupted))
        with pytest.raises(KeyboardInterrupt):
            go(asked, store)
    assert tried == ["lab cases"]
    found = go(asked, store, resume=True)
    assert tried == [
        "lab cases",
        *("lab random", "lab cost"),
        *(f"lab:revmap=off {name}" for name in asked.checks),
    ]
    assert set(found.done) == set(asked.steps())
    go(asked, store, resume=True)
    assert len(tried) == 6


def test_what_was_interrupted_has_a_report(
    tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Trial) -> Step:
        raise KeyboardInterrupt

    monkeypatch.setitem(checks.CHECKS, "cost", Check("cost", "", interrupted, True))
    out = tmp_path / "out"
    words = ["--only", "cases", "--only", "cost", "lab", "lab:revmap=off"]
    done = CliRunner().invoke(main, ["lab", "series", "--out", str(out), *words])
    assert done.exit_code == 130
    assert f"{out}/report.html has what is done: --resume goes on" in done.stderr
    data = json.loads((out / "report.json").read_text())
    assert data["left"] == 4  # of 6, the host and the cases of one are done
    assert tried == ["lab cases"]


def test_subjects_and_checks_can_be_added(tried: list[str], store: Store) -> None:
    go(plan(["lab", "lab:revmap=off"], ["cases"]), store)
    tried.clear()
    wanted = plan(["lab", "lab:revmap=off", "stock"], ["cost"])
    more = joined(plan_of(store.asked() or {}), wanted, checks=True, sizes=True)
    assert more.checks == ("cases", "cost")
    words = ["--resume", "--only", "cost", *(each.name for each in more.candidates)]
    done = CliRunner().invoke(main, ["lab", "series", "--out", str(store.folder), *words])
    assert (done.exit_code, done.stderr.count("error")) == (0, 0), done.output
    assert tried == ["lab cost", "lab:revmap=off cost", "stock cases", "stock cost"]
    assert plan_of(store.asked() or {}) == more
    fewer = plan(["lab", "lab:revmap=off"], ["cases", "cost"])
    with pytest.raises(InputError, match="another series"):
        go(fewer, store, resume=True)


def test_what_is_not_said_again_stays_as_it_was(tried: list[str], store: Store) -> None:
    asked = plan(["lab", "stock"], ["cases"], quick=True, seeds=1, cases=["no-entry"])
    go(asked, store)
    words = ["lab", "series", "--out", str(store.folder), "--resume", "lab", "stock", "6.18"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert tried == ["lab cases", "stock cases", "6.18 cases"]
    kept = plan_of(store.asked() or {})
    assert (kept.sizes, kept.checks) == (asked.sizes, ("cases",))
    done = CliRunner().invoke(main, [*words, "--case", "two-mmus"])
    assert (done.exit_code, "results of another series" in done.stderr) == (2, True)


def test_a_kernel_that_panics_is_wrong_and_one_that_is_silent_was_not_tried(
    tried: list[str], store: Store
) -> None:
    asked = plan(["lab", "lab:bug=first-mmu", "debug"], ["cases"])
    found = go(asked, store).done
    assert found[1, HOST].outcome == FAILED
    assert found[2, HOST].outcome == NOT_TRIED
    assert {found[n, "cases"].outcome for n in (1, 2)} == {NOT_TRIED}
    assert tried == ["lab cases"]
    # What could not be tried is tried again; a panic is a result.
    FakeHosts.booted.clear()
    go(asked, store, resume=True)
    assert FakeHosts.booted == ["debug"]


def test_a_kernel_that_cannot_be_built_was_not_tried(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(candidate: Candidate, **_: object) -> str:
        if candidate.name == "debug":
            raise LackError("the kernel did not build: no compiler")
        return "ready"

    monkeypatch.setattr(Candidate, "prepare", no_compiler)
    asked = plan(["lab", "debug"], ["cases"])
    found = go(asked, store).done
    assert [found[1, name].items[0].why for name in (HOST, "cases")] == [
        "the kernel did not build: no compiler"
    ] * 2
    assert not (store.folder / "steps/1-cases.json").exists()


def test_results_of_another_kernel_are_not_gone_on_with(
    tried: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(["lab", "debug"], ["cases"])
    with store.open(asked.asked(), resume=False):
        store.put(0, Step(HOST, (Item(HOST, PASSED),), facts=facts("7.3.4", "on")))
    monkeypatch.setattr(FakeHosts, "image", lambda _: "beef")
    with pytest.raises(InputError, match="another kernel now"):
        go(asked, store, resume=True)
    assert not tried
