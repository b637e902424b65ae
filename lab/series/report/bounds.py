"""Bounds of what was measured: the mean of some samples, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import fmean, stdev

CONFIDENCE = 0.95
# Student's t, 0.975 quantile, for 1 to 30 degrees of freedom; past that, the one for 30.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
# Between two boots pages and timer ticks fall elsewhere. In three of the lab's kernel, means
# differed by 2.1 % at most (20 unmaps, a tick more or less among them), medians by 0.25 %. The
# samples' own bounds have the ticks; this is for the rest.
SAME = 0.02

CHEAPER, DEARER, ALIKE, UNSURE = "cheaper", "dearer", "the same", "not known"


@dataclass(frozen=True)
class Mean:
    """The mean of `count` samples, and the interval in which the true one lies."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Change:
    """How many times as much as the base. said: CHEAPER, DEARER, ALIKE or UNSURE."""

    ratio: float
    low: float
    high: float
    said: str


def mean(samples: Sequence[float]) -> Mean:
    """With Student's interval; of one sample nothing is known. Raises ValueError for none.

    >>> found = mean([10.0, 12.0, 11.0])
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (11.0, 8.52, 13.48)
    """
    value = fmean(samples)
    if len(samples) < 2:
        return Mean(value, 0.0, inf, len(samples))
    t = _T[min(len(samples) - 1, len(_T)) - 1]
    half = t * stdev(samples) / sqrt(len(samples))
    return Mean(value, max(0.0, value - half), value + half, len(samples))


def change(base: Mean, other: Mean) -> Change:
    """The other in terms of the base; its bounds are those of both, at their worst.

    >>> change(Mean(10, 8, 12, 5), Mean(30, 24, 36, 5))
    Change(ratio=3.0, low=2.0, high=4.5, said='dearer')
    """
    ratio = other.value / base.value if base.value else inf
    low = other.low / base.high if isfinite(base.high) and base.high else 0.0
    high = other.high / base.low if base.low else inf
    return Change(ratio, low, high, _said(low, high))


def _said(low: float, high: float) -> str:
    if low > 1 + SAME:
        return DEARER
    if high < 1 - SAME:
        return CHEAPER
    return ALIKE if low > 1 - SAME and high < 1 + SAME else UNSURE
