"""A few examples of each fuzz target; `make fuzz` tries them for an hour."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import NAMES, fuzz

EXAMPLES = 60
MOST_SECONDS = 120


@pytest.mark.parametrize("name", NAMES)
def test_a_few_examples(name: str) -> None:
    assert fuzz(name, MOST_SECONDS, EXAMPLES).examples >= EXAMPLES
