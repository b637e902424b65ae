"""The folder of a series, and checks that only note that they were run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nvscope.lab.series.checks import checks
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.checks.checks import Check, Trial
from nvscope.lab.series.checks.outcome import (
    PASSED,
    Item,
    Step,
)
from nvscope.lab.series.execution import run
from nvscope.lab.series.execution.store import Store
from nvscope.lab.series.subjects.candidate import Candidate
from tests.unit.lab.series.execution.fake_hosts import FakeHosts
from tests.unit.lab.series.story import facts


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checks that were run, as "subject check"; nothing is booted."""
    ran: list[str] = []

    def check(name: str) -> Callable[[Trial], Step]:
        def play(trial: Trial) -> Step:
            ran.append(f"{trial.host._name} {name}")
            return Step(name, (Item(name, PASSED),))

        return play

    for name, each in checks.CHECKS.items():
        monkeypatch.setitem(checks.CHECKS, name, Check(name, each.title, check(name), each.icount))
    monkeypatch.setattr(run, "Hosts", FakeHosts)
    monkeypatch.setattr(FakeHosts, "booted", [])
    monkeypatch.setattr(Candidate, "prepare", lambda *_, **__: "ready")
    read = kernels.of_json(facts("7.3.4", "on") | {"image": ""})
    monkeypatch.setattr(kernels, "read", lambda *_, **__: read)
    return ran
