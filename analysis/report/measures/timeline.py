"""Time in at most BINS equal bins, which double in width as a trace goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 256
FIRST_WIDTH_NS = 1 << 16  # 65 µs: 17 ms before the first doubling

Indices = npt.NDArray[np.intp]


class Timeline:
    """What happened when. start_ns: of the first bin; width_ns: of each."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.width_ns = FIRST_WIDTH_NS
        self._sums: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def bins(self, times_ns: npt.NDArray[np.uint64]) -> Indices:
        """The bin of each time; what is before the start is in the first. Widens where needed."""
        if not len(times_ns):
            return np.zeros(0, np.intp)
        self.reach(int(times_ns.max()))
        since = np.maximum(times_ns, np.uint64(self.start_ns)) - np.uint64(self.start_ns)
        return (since // np.uint64(self.width_ns)).astype(np.intp)

    def reach(self, time_ns: int) -> None:
        """Widen the bins until the last of them reaches a time."""
        while time_ns - self.start_ns >= BINS * self.width_ns:
            self.width_ns *= 2
            for name, old in self._sums.items():
                self._sums[name] = _halved(old)
            for name, counts in self._counts.items():
                self._counts[name] = _halved(counts)

    def add(self, name: str, bins: Indices, values: npt.NDArray[Any] | None = None) -> None:
        """Add values, or 1 for each, to the sums of a series; bins are as bins() just gave them."""
        old = self._sums.setdefault(name, np.zeros(BINS))
        old += np.bincount(bins, values, minlength=BINS)[:BINS]

    def add_slots(self, name: str, bins: Indices, slots: Indices, width: int) -> None:
        """Count in a table of BINS rows and `width` columns."""
        old = self._counts.setdefault(name, np.zeros((BINS, width), np.int64))
        old += np.bincount(bins * width + slots, minlength=BINS * width).reshape(BINS, width)

    def at(self, time_ns: int) -> int:
        """The bin of one time."""
        self.reach(time_ns)
        return max(0, time_ns - self.start_ns) // self.width_ns

    def put(self, name: str, time_ns: int, value: float = 1) -> None:
        """Add one value."""
        bin_ = self.at(time_ns)
        self._sums.setdefault(name, np.zeros(BINS))[bin_] += value

    def series(self, name: str) -> npt.NDArray[np.float64]:
        """(BINS,) sums; zeros where there was nothing."""
        return self._sums.get(name, np.zeros(BINS))

    def table(self, name: str) -> npt.NDArray[np.int64] | None:
        """(BINS, width) counts."""
        return self._counts.get(name)


def _halved(old: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pairs of bins added up, in the first half.

    >>> _halved(np.arange(4.0)).tolist()
    [1.0, 5.0, 0.0, 0.0]
    """
    half = old.reshape(len(old) // 2, 2, *old.shape[1:]).sum(axis=1)
    return np.concatenate([half, np.zeros_like(half)])
