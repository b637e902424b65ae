"""Intervals hold the truth as often as they say, and no more is claimed than was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.compare.measure import compare
from nvscope.analysis.compare.metrics import QUANTILES, UNITS, Estimate, MetricRow, Plan
from nvscope.analysis.compare.resample import Resamples, rate, ratio
from nvscope.analysis.compare.runs import Group, Run
from nvscope.probes.counts.snapshot import SLOTS, Durations
from tests.unit.analysis.compare.runs import durations, group
from tests.unit.analysis.profiles import PROFILE

EXPERIMENTS = 250
PLAN = Plan(confidence=0.95, resamples=200)
RUN = Run("r", "notifier_unmap", (), 10.0, "7.3.4", "aarch64", "none", False, {}, ())

Sample = Callable[[np.random.Generator, int], "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]


class Known:
    """A distribution whose mean and quantiles are known, in ns."""

    def __init__(self, sample: Sample, mean: float, quantile: Callable[[float], float]) -> None:
        self.sample = sample
        self.truth = {"mean": mean} | {name: quantile(q) for name, q in QUANTILES.items()}


def lognormal(mu: float, sigma: float) -> Known:
    return Known(
        lambda rng, n: rng.lognormal(mu, sigma, n),
        math.exp(mu + sigma**2 / 2),
        lambda q: math.exp(mu + sigma * NormalDist().inv_cdf(q)),
    )


def two_kinds(fast: float, slow: float, share: float) -> Known:
    """Calls of two durations: a full unmap among ranged ones."""
    return Known(
        lambda rng, n: np.where(rng.random(n) < share, slow, fast),
        slow * share + fast * (1 - share),
        lambda q: fast if q <= 1 - share else slow,
    )


def exponential(mean: float) -> Known:
    return Known(lambda rng, n: rng.exponential(mean, n), mean, lambda q: -mean * math.log(1 - q))


# (A, B, calls in each): alike or not, long tails, few calls.
CASES = {
    "alike": (lognormal(12, 1), lognormal(12, 1), 300),
    "long tail": (lognormal(12, 2), lognormal(10, 2), 300),
    "two kinds": (two_kinds(2e5, 9e7, 0.03), two_kinds(2e5, 9e7, 0.05), 400),
    "edge of a slot": (exponential(2**20 / math.log(2)), exponential(2**21 / math.log(2)), 1000),
}
FEW_CALLS = {
    "few": (lognormal(12, 1), lognormal(13, 1), 20),
    "few, long tail": (lognormal(12, 2), lognormal(12, 2), 50),
}


def experiments(a: Known, b: Known, calls: int) -> list[tuple[MetricRow, ...]]:
    rng = np.random.default_rng(20261126)
    return [
        compare(group(a.sample(rng, calls)), group(b.sample(rng, calls)), (RUN, RUN), PLAN)
        for _ in range(EXPERIMENTS)
    ]


def covered(
    found: list[tuple[MetricRow, ...]], metric: str, a: float, b: float
) -> dict[str, float]:
    """The share of experiments whose interval holds the truth, of each part of a row."""
    rows = [row for rows in found for row in rows if row.metric == metric]
    truths = {"a": a, "b": b, "difference": b - a, "ratio": b / a}

    def holds(estimate: Estimate, truth: float, slack: float) -> bool:
        return estimate.low - slack <= truth <= estimate.high + slack

    # Durations are whole ns: all means are less by half of one.
    return {
        part: sum(holds(getattr(row, part), truth, 0 if part == "ratio" else 1) for row in rows)
        / len(rows)
        for part, truth in truths.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_intervals_hold_the_truth(case: str) -> None:
    a, b, calls = CASES[case]
    found = experiments(a, b, calls)
    for metric in ("mean", *QUANTILES):
        for part, share in covered(found, metric, a.truth[metric], b.truth[metric]).items():
            assert share >= PLAN.confidence, (metric, part)


@pytest.mark.parametrize("case", FEW_CALLS)
def test_percentiles_of_few_calls_too(case: str) -> None:
    """Not so the mean: what nobody saw may be most of it (it comes with a warning)."""
    a, b, calls = FEW_CALLS[case]
    found = experiments(a, b, calls)
    for metric in QUANTILES:
        for part, share in covered(found, metric, a.truth[metric], b.truth[metric]).items():
            assert share >= PLAN.confidence, (metric, part)


def test_rates_of_independent_calls() -> None:
    rng, per_second, resamples = np.random.default_rng(11), (2.0, 5.0), 400
    held, tried = 0, 2000
    for _ in range(tried):
        a, b = (rate(rng.poisson(10 * each), 10, resamples, rng) for each in per_second)
        low, high = ratio(a, b).interval(0.95)
        held += low <= per_second[1] / per_second[0] <= high
    assert held / tried >= 0.95


def test_intervals_are_of_use() -> None:
    """Not so wide that nothing can be told: what a log2 histogram allows."""
    rng = np.random.default_rng(4)
    alike, slower = (group(rng.lognormal(mu, 0.5, 5000)) for mu in (12, 12 + math.log(8)))
    rows = {row.metric: row for row in compare(alike, slower, (RUN, RUN), PLAN)}
    assert 7.3 < rows["mean"].ratio.low < 8 < rows["mean"].ratio.high < 8.7
    for metric in ("p50", "p90", "p99"):
        assert rows[metric].ratio.low >= 2
        assert rows[metric].ratio.high <= 32


def test_a_percentile_that_nobody_saw_has_no_upper_bound() -> None:
    rows = {r.metric: r for r in compare(group([1e5] * 100), group([1e5] * 100), (RUN, RUN), PLAN)}
    assert rows["p50"].b.high == 2**17
    assert rows["p99.9"].b.high == rows["p99.9"].ratio.high == math.inf
    assert rows["p99.9"].ratio.low == 0 or rows["p99.9"].ratio.low < 1


def test_the_last_slot_ends_where_the_sum_does() -> None:
    drawn = Resamples(durations([2.0**39, 1.0]), 100, np.random.default_rng(0)).quantile(0.5)
    assert np.isin(drawn.high, [2.0, 2.0**39, math.inf]).all()
    assert (drawn.high == 2.0**39).any()


# Slot -> calls.
used = st.dictionaries(st.integers(0, SLOTS - 1), st.integers(1, 10**6), max_size=6)


@st.composite
def histograms(draw: st.DrawFn) -> Durations:
    """Any; the sum need not fit the slots."""
    counts = draw(used)
    slots = tuple(counts.get(slot, 0) for slot in range(SLOTS))
    return Durations(sum(slots), draw(st.integers(0, 2**64 - 1)), slots)


@PROFILE
@given(a=histograms(), b=histograms(), confidence=st.sampled_from([0.5, 0.9, 0.99]))
def test_rows_are_whole_and_in_order(a: Durations, b: Durations, confidence: float) -> None:
    plan = Plan(confidence, 100)
    rows = compare(Group((), a), Group((), b), (RUN, RUN), plan)
    assert [row.metric for row in rows] == [metric for metric in UNITS if metric != "lost"]
    for row in rows:
        for part in (row.a, row.b, row.difference, row.ratio):
            assert part.low <= part.high
            assert math.isnan(part.value) or part.low <= part.value <= part.high
        empty = not (a.count and b.count) and row.metric not in ("count", "rate")
        assert math.isnan(row.ratio.value) == empty


def test_the_same_seed_gives_the_same() -> None:
    calls = group(np.random.default_rng(0).lognormal(12, 1, 50))
    one, again, other = (
        compare(calls, calls, (RUN, RUN), Plan(0.9, 100, seed)) for seed in (7, 7, 8)
    )
    assert one == again != other


@PROFILE
@given(a=histograms().filter(lambda of: of.count > 0))
def test_a_run_does_not_differ_from_itself(a: Durations) -> None:
    for row in compare(Group((), a), Group((), a), (RUN, RUN), Plan(0.95, 100)):
        assert row.ratio.low <= 1 <= row.ratio.high
        assert row.difference.low <= 0 <= row.difference.high


def test_more_confidence_is_a_wider_interval() -> None:
    calls = group(np.random.default_rng(0).lognormal(12, 1, 50))
    narrow, wide = (compare(calls, calls, (RUN, RUN), Plan(each, 1000)) for each in (0.5, 0.99))
    for less, more in zip(narrow[1:], wide[1:], strict=True):  # not the count: it is known
        assert more.ratio.low <= less.ratio.low
        assert less.ratio.high <= more.ratio.high
    mean = [row.metric for row in narrow].index("mean")
    assert wide[mean].ratio.low < narrow[mean].ratio.low < narrow[mean].ratio.high
    assert narrow[mean].ratio.high < wide[mean].ratio.high
