"""How the arrays of rows and of shadow MMUs are given out: in ranges, from stacks of them.

The C side is bpf/rows.h. Programs take the first of the range on top and put back what is left;
what is given back is a range of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nvscope.probes.kernel import libbpf

# (first index, count) each.
Ranges = Sequence[tuple[int, int]]

RANGES = 256
# The rows of stripes of CPUs come first; as many are for all CPUs.
SHARES = 2


@dataclass(frozen=True)
class Pool:
    """A part of an array. stack: the map with what can be had of it; of: the array; share: which
    of its equal parts, out of so many.
    """

    stack: str
    of: str
    share: int
    shares: int


# enum nv_pool, in order.
POOLS = (
    Pool("free_striped", "rows", 0, SHARES),
    Pool("free_shared", "rows", 1, SHARES),
    Pool("free_mmus", "mmus", 0, 1),
)


def range_shift(size: int) -> int:
    """Of a pool's ranges, but for the last: the logarithm of their size, to base 2. The verifier of
    older kernels follows no division.

    >>> range_shift(24), range_shift(24_576), range_shift(257)
    (0, 7, 1)
    """
    return (-(-size // RANGES) - 1).bit_length()


def fill(maps: Mapping[str, int], capacity: Mapping[str, int]) -> None:
    """Fill the stacks of new maps, the lowest range on top. capacity: of the arrays."""
    for pool in POOLS:
        size = capacity[pool.of] // pool.shares
        step = 1 << range_shift(size)
        for first in reversed(range(0, size, step)):
            count = min(step, size - first)
            libbpf.push(maps[pool.stack], (pool.share * size + first, count))


def give_back(maps: Mapping[str, int], capacity: Mapping[str, int], of: str, index: int) -> None:
    """Let a value of an array be had by others; it has to be empty."""
    [stack] = [
        pool.stack
        for pool in POOLS
        if pool.of == of and index * pool.shares // capacity[of] == pool.share
    ]
    libbpf.push(maps[stack], (index, 1))


def given_out(ends: Sequence[int], capacity: Mapping[str, int], of: str) -> Ranges:
    """What of an array was ever given out, in order, and as few ranges as can be. ends: of struct
    nv_heads, RANGES a pool.
    """
    found: list[tuple[int, int]] = []
    for number, pool in enumerate(POOLS):
        if pool.of != of:
            continue
        size = capacity[of] // pool.shares
        step = 1 << range_shift(size)
        for place, end in enumerate(ends[number * RANGES : (number + 1) * RANGES]):
            if end:
                _append(found, pool.share * size + place * step, end)
    return found


def _append(ranges: list[tuple[int, int]], first: int, count: int) -> None:
    """To the last one, where it goes on there."""
    if ranges and sum(ranges[-1]) == first:
        first, count = ranges[-1][0], ranges.pop()[1] + count
    ranges.append((first, count))
