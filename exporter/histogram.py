"""From the kernel's log2 slots of nanoseconds to Prometheus buckets of seconds."""

from __future__ import annotations

NS_PER_SECOND = 1_000_000_000

# Bucket bounds are 2**k ns for these k: 1.024 us (below the cheapest notifier unmap, some
# 1e4 instructions) to 68.7 s (the dearest full shadow unmap seen in emulation took 77 s).
FIRST_BOUND_LOG2_NS = 10
LAST_BOUND_LOG2_NS = 36

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

    slots: SLOTS counts, slot i covers [2**(i-1), 2**i) ns (probes/snapshot.py), so the bucket
    of bound 2**k ns is the sum of slots 0..k. A duration of exactly 2**k ns lies one bucket
    higher than Prometheus' "le" would have it: the resolution is 1 ns. The count of +Inf is the
    sum of all slots and not Durations.count, for the two are read from a map that is being
    written to, and a histogram whose buckets and count disagree is invalid.

    >>> from nvscope.probes.snapshot import SLOTS
    >>> counts = [0] * SLOTS
    >>> counts[3], counts[11], counts[39] = 1, 5, 2  # 4..7 ns, 1.024..2.047 us, over 2**38 ns
    >>> shown = buckets(tuple(counts))
    >>> shown[:2], shown[-2:]
    ([('1.024e-06', 1), ('2.048e-06', 6)], [('68.719476736', 6), ('+Inf', 8)])
    """
    below = sum(slots[:FIRST_BOUND_LOG2_NS])
    shown: list[tuple[str, float]] = []
    for k, bound in _BOUNDS:
        below += slots[k]
        shown.append((bound, below))
    return [*shown, ("+Inf", sum(slots))]
