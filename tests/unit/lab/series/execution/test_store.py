"""What is kept of a series."""

from __future__ import annotations

import json

import pytest

from nvscope.lab.series.checks.outcome import (
    as_json,
    step_of,
)
from nvscope.lab.series.execution.plan import plan
from nvscope.lab.series.execution.store import Store
from nvscope.probes.errors import InputError, LackError
from tests.unit.lab.series.story import WORDS, told


def test_a_step_comes_back_as_it_was() -> None:
    _, done = told()
    for step in done.values():
        assert step_of(json.loads(json.dumps(as_json(step)))) == step


def test_a_result_is_there_whole_or_not_at_all(store: Store) -> None:
    asked, done = told()
    with store.open(asked.asked(), resume=False):
        store.put(1, done[1, "cases"])
        half = store.folder / "steps/1-cost.json.partial"
        half.write_text('{"check": "cost"')  # killed while it wrote
        assert store.get(1, "cost") is None
        assert store.get(1, "cases") == done[1, "cases"]
    (store.folder / "steps/1-cost.json").write_text('{"check": "cost"}')
    with pytest.raises(InputError, match="remove it"):
        store.get(1, "cost")


def test_results_of_another_series_are_not_taken(store: Store) -> None:
    asked = plan(WORDS).asked()
    with (
        store.open(asked, resume=False),
        pytest.raises(LackError, match="another series is at work"),
        Store(store.folder).open(asked, resume=True),
    ):
        pass
    with pytest.raises(InputError, match="--resume goes on"), store.open(asked, resume=False):
        pass
    with (
        pytest.raises(InputError, match="another series"),
        store.open(plan(WORDS, quick=True).asked(), resume=True),
    ):
        pass
    other = plan(["lab", "stock"]).asked()
    with (
        pytest.raises(InputError, match=r"another series.*stock lab"),
        store.open(other, resume=True),
    ):
        pass
    with store.open(asked, resume=True):
        pass
