"""What is to be done, and in which order."""

from __future__ import annotations

import json

import pytest

from nvscope.lab.series.checks import checks
from nvscope.lab.series.checks import facts as kernels
from nvscope.lab.series.execution.plan import HOST, plan, plan_of
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.probes.errors import InputError
from tests.unit.lab.series.story import WORDS, facts


def test_a_plan_has_every_check_of_every_subject() -> None:
    found = plan(WORDS)
    names = [HOST, *checks.CHECKS]
    assert found.steps() == [(n, name) for n in range(3) for name in names]
    assert found.sizes.seeds == (1, 2, 3, 4)
    few = plan(WORDS, only=["cost", "cases"], quick=True, seeds=1)
    assert few.checks == ("cases", "cost")  # in the order of the table
    assert few.sizes.seeds == (1,)
    one = plan(WORDS, only=["cases"], cases=["two-mmus"]).sizes
    assert one.cases(kernels.of_json(facts("k", "none"))) == {"two-mmus"}
    assert 60 < few.seconds(few.steps(), {}) < found.seconds(found.steps(), {})


def test_a_plan_comes_back_from_its_words() -> None:
    asked = plan(WORDS, ["cases"], True, 3, ["pollution"])
    assert plan_of(json.loads(json.dumps(asked.asked()))) == asked
    with pytest.raises(InputError, match="another version"):
        plan_of({**asked.asked(), "format": 99})
    with pytest.raises(InputError, match="cannot be read"):
        plan_of({"format": 1})


@pytest.mark.parametrize("words", [[], ["lab"], ["lab", "stock", "lab"]])
def test_a_series_is_two_kernels_at_least(words: list[str]) -> None:
    with pytest.raises(InputError):
        plan(words)


def test_on_a_slow_kernel_there_is_less_of_each() -> None:
    slow, fast = (kernels.of_json(facts("k", revmap)) for revmap in ("none", "on"))
    sizes = plan(WORDS, quick=True).sizes
    assert sizes.cases(fast) == set(CASES)
    assert 0 < len(sizes.cases(slow)) < len(CASES)
    assert sizes.full_unmaps(slow) < sizes.full_unmaps(fast)
    assert sizes.samples(slow) < sizes.samples(fast)
    assert plan(WORDS).sizes.cases(slow) == set(CASES)
    assert "20 s" in sizes.why(slow)
