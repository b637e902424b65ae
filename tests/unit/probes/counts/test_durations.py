"""What a log2 histogram knows of its durations, against the durations themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.probes.counts.durations import NONE, PERCENTILES, bounds, difference, percentile, total
from nvscope.probes.counts.snapshot import SLOTS, Durations

SAMPLES = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, 2**45)), min_size=1)


def counted(samples: list[int]) -> Durations:
    """As the programs count: fls64, all that is longer in the last slot."""
    slots = [0] * SLOTS
    for ns in samples:
        slots[min(ns.bit_length(), SLOTS - 1)] += 1
    return Durations(len(samples), sum(samples), tuple(slots))


@given(SAMPLES, st.sampled_from(sorted(PERCENTILES)))
def test_the_exact_percentile_is_within_the_bounds(samples: list[int], name: str) -> None:
    exact = next(
        ns
        for ns in sorted(samples)
        if sum(each <= ns for each in samples) * 1000 >= PERCENTILES[name] * len(samples)
    )
    low, high = percentile(counted(samples), PERCENTILES[name])
    assert low <= exact < high
    assert high <= max(1, 2 * low) or low == bounds(SLOTS - 1)[0]


def test_percentiles_are_of_the_nearest_rank() -> None:
    thousand = counted([1] * 999 + [1 << 20])
    assert percentile(thousand, PERCENTILES["99.9"]) == (1, 2)
    assert percentile(total([thousand, counted([1 << 20])]), PERCENTILES["99.9"])[0] == 1 << 20
    assert percentile(counted([7]), PERCENTILES["50"]) == (4, 8)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no durations"):
        percentile(NONE, 500)


@given(SAMPLES, SAMPLES)
def test_what_came_later_is_the_difference(early: list[int], late: list[int]) -> None:
    before, after = counted(early), counted(late)
    assert difference(total([before, after]), before) == after
    assert difference(before, before) == NONE


def test_counters_that_began_anew_count_from_zero() -> None:
    before, now = counted([1, 100, 1000]), counted([100])
    assert difference(now, before) == now
    # Fewer of one kind is enough to tell, though there are more in all.
    assert difference(counted([100] * 9), before) == counted([100] * 9)


@given(st.integers(0, 2**63 - 1))
def test_a_duration_is_within_the_bounds_of_its_slot(ns: int) -> None:
    low, high = bounds(min(ns.bit_length(), SLOTS - 1))
    assert low <= ns < high
