"""What a run might have shown by chance: resamples of a log2 histogram, with numpy.

A histogram tells how many calls each slot has, and no more. Two things are unknown:

*Chance.* The calls are a sample. Which share of all such calls belongs in a slot is drawn again
and again, as gamma weights whose shapes are the counts: the Bayesian bootstrap, a resampling of the
slots' multinomial. Drawing whole counts from it instead would do for a median, but not for a tail:
a slot that no call was seen in would never be drawn, and the interval of a p99.9 of 100 calls would
hold the truth in 15 to 40 experiments of 100 rather than in 95. So each draw also has one call
more, of which nothing is known. For a lower bound it is taken to be the fastest, for an upper bound
the slowest of all: the p99.9 of few calls has no upper bound. For single percentiles this is the
exact interval from order statistics (Clopper-Pearson), whatever the distribution. For a mean the
slowest of all is a slot slower than the slowest seen.

*Position in the slot.* Each draw gives two values: a percentile is no lower than where its slot
begins and no higher than where it ends, and the interval goes from the lower values to the higher
ones. It thus spans a factor of 2 at least, and a ratio of two percentiles is beyond doubt above 1
only where there is a slot between them. The mean is known exactly (sum and count are); only its
scatter is not: calls are put at the edges of their slots, slow slots at the upper, fast ones at
the lower, so that the sum is right and the scatter the largest that there can be.

What that takes for granted: that calls do not depend on each other (bursts make the true interval
wider), and, for the mean, that much slower calls than were seen do not matter: where rare slow
calls make up the mean, it wants some hundreds (tests hold it to 300).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nvscope.probes.counts.snapshot import SLOTS, Durations

Floats = npt.NDArray[np.float64]

# Where slots begin and end, in ns (probes/counts/snapshot.py). The last has no end of its own.
LOWS: Floats = np.array([0.0, *(2.0 ** (i - 1) for i in range(1, SLOTS))])
HIGHS: Floats = np.array([0.0, *(2.0**i for i in range(1, SLOTS - 1)), np.inf])
# What the call that nobody saw takes, of the end of the slowest slot seen: a slot more.
_SLOWER = 2.0


@dataclass(frozen=True)
class Draws:
    """A value, drawn again and again: (resamples,) float64 each, no draw of low above its high."""

    low: Floats
    high: Floats

    def interval(self, confidence: float) -> tuple[float, float]:
        """Where the true value is, with this confidence of 0 to 1; as much is left off either way.

        >>> Draws(np.arange(101.0), np.arange(101.0)).interval(0.9)
        (5.0, 95.0)
        """
        left_off = (1 - confidence) / 2 * (len(self.low) - 1)
        at = int(np.floor(left_off + 1e-9))  # outwards, and not for a rounding error
        return float(np.sort(self.low)[at]), float(np.sort(self.high)[len(self.high) - 1 - at])


def unknown(resamples: int) -> Draws:
    """Of a duration of which nothing is known."""
    return Draws(np.zeros(resamples), np.full(resamples, np.inf))


def difference(a: Draws, b: Draws) -> Draws:
    """B - A."""
    return Draws(b.low - a.high, b.high - a.low)


def ratio(a: Draws, b: Draws) -> Draws:
    """B / A; what has nothing below the line has no bound."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = b.low / a.high, b.high / a.low
    return Draws(np.nan_to_num(low, nan=0.0), np.where(np.isnan(high), np.inf, high))


def rate(count: int, seconds: float, resamples: int, rng: np.random.Generator) -> Draws:
    """Calls a second, were they to come independently of each other (Poisson).

    A mean count lies between draws of Gamma(count) and Gamma(count + 1): Garwood's exact interval.
    """
    low = rng.standard_gamma(float(count), resamples)
    return Draws(low / seconds, (low + rng.standard_exponential(resamples)) / seconds)


class Resamples:
    """Draws of the distribution that a histogram was a sample of.

    Made once for a histogram, then asked for percentiles and the mean: their draws belong
    together. Costs O(resamples x slots in use). There must be calls.
    """

    def __init__(self, durations: Durations, resamples: int, rng: np.random.Generator) -> None:
        used = np.flatnonzero(durations.slots)
        counts = np.array([float(durations.slots[i]) for i in used])
        self._lows, self._highs = bounds(durations)
        shares = _shares_at_high(counts, self._lows, self._highs, float(durations.sum_ns))
        # (resamples, slots in use) each: what is at the lower edge, and at the upper.
        size = (resamples, len(used))
        self._at_low = rng.standard_gamma(counts * (1 - shares), size)
        self._at_high = rng.standard_gamma(counts * shares, size)
        self._one_more = rng.standard_exponential(resamples)
        self._below = np.cumsum(self._at_low + self._at_high, axis=1)
        self._all = self._below[:, -1] + self._one_more

    def quantile(self, q: float) -> Draws:
        """The shortest duration in ns that a share q of all calls does not exceed."""
        wanted = (q * self._all)[:, None]
        high = np.append(self._highs, np.inf)[(self._below < wanted).sum(axis=1)]
        below = self._below + self._one_more[:, None]
        slot = np.minimum((below < wanted).sum(axis=1), len(self._lows) - 1)
        low = np.where(self._one_more >= wanted[:, 0], 0.0, self._lows[slot])
        return Draws(low, high)

    def mean(self) -> Draws:
        """The mean duration in ns."""
        total = self._at_low @ self._lows + self._at_high @ self._highs
        slowest = _SLOWER * self._highs[-1]
        return Draws(total / self._all, (total + self._one_more * slowest) / self._all)


def bounds(durations: Durations) -> tuple[Floats, Floats]:
    """Where the slots in use begin and end, in ns; no call took longer than the sum allows.

    >>> lows, highs = bounds(Durations(1, 5, (0, 0, 0, 1) + (0,) * (SLOTS - 4)))
    >>> lows.tolist(), highs.tolist()
    ([4.0], [5.0])
    """
    used = np.flatnonzero(durations.slots)
    lows = LOWS[used]
    spare = max(0.0, float(durations.sum_ns) - _least_ns(durations))
    return lows, np.minimum(HIGHS[used], lows + spare)


def _least_ns(durations: Durations) -> float:
    return float(sum(n * low for n, low in zip(durations.slots, LOWS.tolist(), strict=True)))


def _shares_at_high(counts: Floats, lows: Floats, highs: Floats, sum_ns: float) -> Floats:
    """Which share of each slot's calls is at its upper edge, for the largest scatter.

    The sum of squares is the largest where what the sum leaves is spent on the slowest slots.
    """
    room = counts * (highs - lows)
    spare = min(max(0.0, sum_ns - float(counts @ lows)), float(room.sum()))
    shares = np.zeros(len(counts))
    for i in reversed(range(len(counts))):
        spent = min(spare, float(room[i]))
        shares[i] = spent / room[i] if room[i] else 0.0
        spare -= spent
    return shares
