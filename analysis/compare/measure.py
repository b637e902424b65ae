"""Two groups of calls, measured against each other."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

import numpy as np

from nvscope.analysis.compare import resample
from nvscope.analysis.compare.metrics import QUANTILES, Estimate, MetricRow, Plan, exact, ratio_of
from nvscope.analysis.compare.resample import Draws, bounds
from nvscope.analysis.compare.runs import Group, Run
from nvscope.probes.counts.snapshot import Durations


def compare(a: Group, b: Group, runs: tuple[Run, Run], plan: Plan) -> tuple[MetricRow, ...]:
    """The rows of two groups, in the order of metrics.UNITS, without lost.

    Count is what was counted; the intervals of rate, mean and percentiles say where those of other
    runs of the kind would be (resample.py). Takes some 20 ms for 4,000 resamples.
    """
    rng = np.random.default_rng(plan.seed)
    left, right = (
        dict(_measured(group.durations, run.seconds, plan.resamples, rng))
        for group, run in zip((a, b), runs, strict=True)
    )
    counts = exact("count", a.durations.count, b.durations.count)
    return (counts, *(_row(metric, left[metric], right[metric], plan) for metric in left))


def _measured(
    durations: Durations, seconds: float, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[str, tuple[float, Draws]]]:
    count = durations.count
    yield "rate", (count / seconds, resample.rate(count, seconds, resamples, rng))
    if not count:
        yield from ((each, (nan, resample.unknown(resamples))) for each in ("mean", *QUANTILES))
        return
    drawn = resample.Resamples(durations, resamples, rng)
    yield "mean", (durations.sum_ns / count, drawn.mean())
    for metric, q in QUANTILES.items():
        yield metric, (quantile(durations, q), drawn.quantile(q))


def _row(metric: str, a: tuple[float, Draws], b: tuple[float, Draws], plan: Plan) -> MetricRow:
    (value_a, drawn_a), (value_b, drawn_b) = a, b
    return MetricRow(
        metric,
        _estimate(value_a, drawn_a, plan),
        _estimate(value_b, drawn_b, plan),
        _estimate(value_b - value_a, resample.difference(drawn_a, drawn_b), plan),
        _estimate(ratio_of(value_a, value_b), resample.ratio(drawn_a, drawn_b), plan),
    )


def _estimate(value: float, draws: Draws, plan: Plan) -> Estimate:
    low, high = draws.interval(plan.confidence)
    return Estimate(value, min(low, value), max(high, value))


def quantile(durations: Durations, q: float) -> float:
    """An estimate of the q-quantile in ns: the calls of a slot are taken to be spread evenly by
    the logarithm of their durations.

    >>> slots = [0] * 40
    >>> slots[11] = 4  # from 1024 to 2047 ns
    >>> round(quantile(Durations(4, 6000, tuple(slots)), 0.5))
    1448
    """
    lows, highs = bounds(durations)
    below, wanted = 0.0, q * durations.count
    for count, low, high in zip(filter(None, durations.slots), lows, highs, strict=True):
        if below + count >= wanted:
            return float(low * (high / low) ** ((wanted - below) / count)) if low else 0.0
        below += count
    return float(highs[-1])  # not reached: the slots are all there is, but for rounding
