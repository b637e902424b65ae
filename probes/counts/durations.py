"""Arithmetic on log2 histograms of durations: sums, differences, percentiles with their bounds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from nvscope.probes.counts.snapshot import SLOTS, Durations

NONE = Durations(0, 0, (0,) * SLOTS)

# As people name them -> the same in thousandths: whole numbers, so that ranks are exact.
PERCENTILES = {"50": 500, "90": 900, "99": 990, "99.9": 999}


def total(durations: Iterable[Durations]) -> Durations:
    """Return several histograms as one.

    >>> one = Durations(1, 7, (1,) + (0,) * (SLOTS - 1))
    >>> both = total([one, one])
    >>> both.count, both.sum_ns, both.slots[:2]
    (2, 14, (2, 0))
    """
    several = tuple(durations)
    if len(several) == 1:
        return several[0]
    return Durations(
        sum(d.count for d in several),
        sum(d.sum_ns for d in several),
        tuple(map(sum, zip(NONE.slots, *(d.slots for d in several), strict=True))),
    )


def difference(now: Durations, before: Durations) -> Durations:
    """Return what was counted since `before`; all of `now` where counters began anew meanwhile.

    >>> one = Durations(1, 7, (0, 0, 0, 1) + (0,) * (SLOTS - 4))
    >>> difference(total([one, one]), one) == one, difference(one, total([one, one])) == one
    (True, True)
    """
    slots = tuple(n - old for n, old in zip(now.slots, before.slots, strict=True))
    sum_ns = now.sum_ns - before.sum_ns
    if sum_ns < 0 or any(n < 0 for n in slots):
        return now
    return Durations(sum(slots), sum_ns, slots)


def bounds(slot: int) -> tuple[int, int]:
    """Return (low, high) of a slot: low <= duration < high, in ns. The last has no high: 2**63.

    >>> bounds(0), bounds(1), bounds(11)
    ((0, 1), (1, 2), (1024, 2048))
    """
    low = 1 << slot - 1 if slot else 0
    return low, 1 << 63 if slot == SLOTS - 1 else 1 << slot


def percentile(durations: Durations, thousandths: int) -> tuple[int, int]:
    """Return (low, high) in ns with low <= percentile < high. Raises ValueError where count is 0.

    The percentile is the shortest duration that so many of a thousand do not exceed (the nearest
    rank); the histogram tells which slot it is in, and no more. Nothing is interpolated.

    >>> percentile(Durations(3, 9, (0, 2, 0, 1) + (0,) * (SLOTS - 4)), 500)
    (1, 2)
    """
    count = sum(durations.slots)
    if not count:
        raise ValueError("no durations")
    rank = max(1, -(-count * thousandths // 1000))
    slot = next(i for i, below in enumerate(accumulate(durations.slots)) if below >= rank)
    low, high = bounds(slot)
    # No call took longer than all of them together: where the slot has no end, that is one.
    return low, max(low, durations.sum_ns) + 1 if slot == SLOTS - 1 else high
