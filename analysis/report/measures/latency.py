"""Durations as a histogram: log2, and each octave cut in eight, for percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

OCTAVES = 64
PARTS = 8  # of an octave: a slot is at most 1/8 wide, what is read from it within 6 % or so
SLOTS = OCTAVES * PARTS

Counts = npt.NDArray[np.int64]


def slots(durations_ns: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The slot of each duration; 0 ns goes where 1 ns does.

    >>> slots(np.array([0, 1, 2, 3, 1000, 1024])).tolist()
    [0, 0, 8, 12, 79, 80]
    """
    mantissa, exponent = np.frexp(durations_ns.astype(np.float64))
    found = (exponent - 1) * PARTS + ((mantissa * 2 - 1) * PARTS).astype(np.intp)
    clipped: npt.NDArray[np.intp] = np.clip(found, 0, SLOTS - 1).astype(np.intp)
    return clipped


def slot_start(slot: float) -> float:
    """Where a slot begins, in ns.

    >>> slot_start(80), slot_start(81)
    (1024.0, 1152.0)
    """
    octave, part = divmod(slot, PARTS)
    return float(2**octave * (1 + part / PARTS))


def quantile(counts: Counts, q: float) -> float:
    """The duration in ns that a share q of all stays below; 0 of nothing.

    >>> counts = np.bincount(slots(np.arange(1, 1001)), minlength=SLOTS)
    >>> 470 < quantile(counts, 0.5) < 530
    True
    """
    sums = np.cumsum(counts)
    if not sums[-1]:
        return 0.0
    wanted = q * float(sums[-1])
    slot = int(np.searchsorted(sums, wanted))
    below = float(sums[slot - 1]) if slot else 0.0
    return slot_start(slot + (wanted - below) / float(counts[slot]))


class Latency:
    """A histogram of durations. counts: (SLOTS,) int64, see slots(); times in ns."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(SLOTS, np.int64)
        self.total_ns = 0
        self.max_ns = 0

    def add(self, durations_ns: npt.NDArray[Any]) -> None:
        """Count durations."""
        if len(durations_ns):
            self.counts += np.bincount(slots(durations_ns), minlength=SLOTS)
            # Not numpy's own sum: it wraps around at 2**64.
            self.total_ns += int(durations_ns.astype(np.float64).sum())
            self.max_ns = max(self.max_ns, int(durations_ns.max()))

    @property
    def count(self) -> int:
        """How many durations."""
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """See quantile(); never above the longest that there was."""
        return min(quantile(self.counts, q), float(self.max_ns))

    def octaves(self) -> list[int]:
        """(OCTAVES,) counts; number i has those of [2**i, 2**(i+1)) ns."""
        return [int(n) for n in self.counts.reshape(OCTAVES, PARTS).sum(axis=1)]
