"""From the kernel's log2 slots of nanoseconds to Prometheus buckets of seconds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

NS_PER_SECOND = 1_000_000_000

# Bucket bounds are 2**k ns for these k: 1.024 us (below the cheapest notifier unmap, some
# 1e4 instructions) to 68.7 s (the dearest full shadow unmap seen in emulation took 77 s).
FIRST_BOUND_LOG2_NS = 10
LAST_BOUND_LOG2_NS = 36

# From here on prometheus-client writes numbers with an exponent, as Go does.
_EXPONENTS_FROM = 1_000_000

_BOUNDS = tuple(
    (k, repr(2**k / NS_PER_SECOND)) for k in range(FIRST_BOUND_LOG2_NS, LAST_BOUND_LOG2_NS + 1)
)


def seconds(duration_ns: int) -> float:
    """Return nanoseconds in seconds.

    >>> seconds(1_500_000_000)
    1.5
    """
    return duration_ns / NS_PER_SECOND


def buckets(slots: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return cumulative buckets: (upper bound in seconds as text, count of durations below it).

    slots: SLOTS counts, slot i covers [2**(i-1), 2**i) ns (counts/snapshot.py), so the bucket
    of bound 2**k ns is the sum of slots 0..k. A duration of exactly 2**k ns lies one bucket
    higher than Prometheus' "le" would have it: the resolution is 1 ns. The count of +Inf is the
    sum of all slots and not Durations.count, for the two are read from a map that is being
    written to, and a histogram whose buckets and count disagree is invalid.

    >>> from nvscope.probes.counts.snapshot import SLOTS
    >>> counts = [0] * SLOTS
    >>> counts[3], counts[11], counts[39] = 1, 5, 2  # 4..7 ns, 1.024..2.047 us, over 2**38 ns
    >>> shown = buckets(tuple(counts))
    >>> shown[:2], shown[-2:]
    ([('1.024e-06', 1), ('2.048e-06', 6)], [('68.719476736', 6), ('+Inf', 8)])
    """
    bounds = (*(bound for _, bound in _BOUNDS), "+Inf")
    return list(zip(bounds, _cumulative(slots), strict=True))


def _cumulative(slots: tuple[int, ...]) -> list[int]:
    below = itertools.accumulate(
        slots[FIRST_BOUND_LOG2_NS : LAST_BOUND_LOG2_NS + 1],
        initial=sum(slots[:FIRST_BOUND_LOG2_NS]),
    )
    next(below)
    return [*below, sum(slots)]


class Histograms(Metric):
    """A family of histograms by log2 slots, in seconds.

    What a scrape takes is mostly to make samples of these, 30 a histogram, and words of samples; so
    this family has the words itself, line by line as prometheus-client writes them, and samples
    for whoever asks.
    """

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        """labels: one or more, each after "le" in the alphabet."""
        super().__init__(name, documentation, "histogram", "seconds")
        self._labels = labels
        self._rows: list[tuple[tuple[str, ...], tuple[int, ...], int]] = []

    def add(self, labels: tuple[str, ...], slots: tuple[int, ...], sum_ns: int) -> None:
        """Add a histogram; labels: values in the order of their names."""
        self._rows.append((labels, slots, sum_ns))

    @property
    def samples(self) -> list[Sample]:
        """All samples, made now."""
        made = HistogramMetricFamily(self.name, self.documentation, labels=self._labels)
        for labels, slots, sum_ns in self._rows:
            made.add_metric(labels, buckets(slots), seconds(sum_ns))
        return made.samples

    @samples.setter
    def samples(self, _: list[Sample]) -> None:
        """Metric begins with none."""

    def lines(self) -> str:
        """All samples as lines, the same in the text format and in OpenMetrics."""
        pattern = _pattern(self.name)
        return "".join(
            pattern.replace(_LABELS, _pairs(self._labels, labels))
            % (*map(_count, _cumulative(slots)), _count(sum(slots)), _value(seconds(sum_ns)))
            for labels, slots, sum_ns in self._rows
        )


_LABELS = "\0"  # it stands for them in a pattern


def _pattern(name: str) -> str:
    """The lines of one histogram, to be filled by %."""
    bounds = (*(bound for _, bound in _BOUNDS), "+Inf")
    lines = [f'{name}_bucket{{le="{bound}",{_LABELS}}} %s\n' for bound in bounds]
    return "".join([*lines, *(f"{name}_{each}{{{_LABELS}}} %s\n" for each in ("count", "sum"))])


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    """Labels in the order of their names, to stand in a pattern."""
    pairs = sorted(zip(names, values, strict=True))
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)


def _escaped(value: str) -> str:
    for character, escaped in (("\\", "\\\\"), ("\n", "\\n"), ('"', '\\"'), ("%", "%%")):
        value = value.replace(character, escaped)
    return value


def _count(count: int) -> str:
    return f"{count}.0" if count < _EXPONENTS_FROM else _value(count)


def _value(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
