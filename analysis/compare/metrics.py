"""Metrics of two groups: of each, of what differs, and how far they are known."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
# Metric -> unit. lost is of a whole run, all others of a group.
UNITS = {"count": "", "rate": "/s", "mean": "ns"} | dict.fromkeys(QUANTILES, "ns") | {"lost": ""}


@dataclass(frozen=True)
class Plan:
    """How intervals are made. confidence: of 0 to 1; the same seed gives the same intervals."""

    confidence: float = 0.95
    resamples: int = 4000
    seed: int = 0


@dataclass(frozen=True)
class Estimate:
    """A value and its interval: low <= value <= high. inf: no bound; nan: no value, of no calls."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricRow:
    """A metric of two groups, A and B: of each, B - A, and B / A."""

    metric: str
    a: Estimate
    b: Estimate
    difference: Estimate
    ratio: Estimate

    @property
    def unit(self) -> str:
        """Of a, b and difference: "ns", "/s", or "" (a number)."""
        return UNITS[self.metric]


def exact(metric: str, a: float, b: float) -> MetricRow:
    """A row of what was counted: no doubt about it.

    >>> exact("count", 4, 6).ratio, exact("lost", 0, 0).ratio.value
    (Estimate(value=1.5, low=1.5, high=1.5), 1.0)
    """
    known = (a, b, b - a, ratio_of(a, b))
    return MetricRow(metric, *(Estimate(value, value, value) for value in known))


def ratio_of(a: float, b: float) -> float:
    """B / A; nan of nan.

    >>> ratio_of(0, 1), ratio_of(0, 0)
    (inf, 1.0)
    """
    if a or isnan(b):
        return b / (a or 1)
    return inf if b else 1.0  # from nothing to nothing nothing has changed
