"""Ranges of arrays: each index is to be had once, and what was given out is known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.probes.counts import pools
from nvscope.probes.kernel import libbpf
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.pins.fakes import make_maps

ROWS = 1000  # of an array; 500 of each pool, in ranges of 2
NOTHING = [0] * (len(pools.POOLS) * pools.RANGES)


class Stacks:
    """Stacks by number, in place of maps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fds = {pool.stack: number for number, pool in enumerate(pools.POOLS)}
        self.values: list[list[tuple[int, int]]] = [[] for _ in pools.POOLS]
        monkeypatch.setattr(libbpf, "push", lambda fd, value: self.values[fd].append(value))

    def indexes(self) -> list[list[int]]:
        """Of each stack, in the order in which they are had."""
        return [
            [first + n for first, count in reversed(values) for n in range(count)]
            for values in self.values
        ]


def ends_of(taken: Mapping[str, int], capacity: Mapping[str, int]) -> list[int]:
    """struct nv_heads.ends after so many were taken, one after another."""
    ends = list(NOTHING)
    for number, pool in enumerate(pools.POOLS):
        step = 1 << pools.range_shift(capacity[pool.of] // pool.shares)
        for place in range(taken.get(pool.stack, 0)):
            ends[number * pools.RANGES + place // step] = place % step + 1
    return ends


@pytest.mark.parametrize("rows", [2, 48, 510, 512, 514, 49_152, 65_538])
@pytest.mark.parametrize("mmus", [1, 64, 255, 257, 65_536])
def test_each_index_is_to_be_had_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, rows: int, mmus: int
) -> None:
    stacks = Stacks(monkeypatch)
    pools.fill(stacks.fds, {"rows": rows, "mmus": mmus})
    assert stacks.indexes() == [
        [*range(rows // 2)],
        [*range(rows // 2, rows)],
        [*range(mmus)],
    ]
    assert all(0 < len(values) <= pools.RANGES for values in stacks.values)
    assert all(count > 0 for values in stacks.values for _, count in values)


def test_on_real_stacks_the_lowest_range_is_on_top() -> None:
    for maps in make_maps(Sizes(vms=11)):
        found = {pool.stack: list(maps.popped(pool.stack)) for pool in pools.POOLS}
        assert found["free_striped"][:2] == [(0, 2), (2, 2)]
        assert found["free_striped"][-1] == (262, 2)
        assert found["free_shared"][0] == (264, 2)
        assert found["free_mmus"][-1] == (11 * 64 - 4, 4)
        indexes = [n for first, count in found["free_mmus"] for n in range(first, first + count)]
        assert indexes == list(range(11 * 64))
        assert maps.pop("free_striped") is None


@pytest.mark.parametrize(
    ("of", "index", "stack"),
    [
        ("rows", 0, "free_striped"),
        ("rows", 499, "free_striped"),
        ("rows", 500, "free_shared"),
        ("rows", 999, "free_shared"),
        ("mmus", 0, "free_mmus"),
        ("mmus", 6, "free_mmus"),
    ],
)
def test_what_is_given_back_is_had_from_where_it_came(
    monkeypatch: pytest.MonkeyPatch, of: str, index: int, stack: str
) -> None:
    stacks = Stacks(monkeypatch)
    pools.give_back(stacks.fds, {"rows": ROWS, "mmus": 7}, of, index)
    assert stacks.values[stacks.fds[stack]] == [(index, 1)]
    assert sum(map(len, stacks.values)) == 1


def test_nothing_is_given_out_at_first() -> None:
    assert pools.given_out(NOTHING, {"rows": ROWS, "mmus": 7}, "rows") == []


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000))
def test_what_was_given_out(size: int, striped: int, shared: int, mmus: int) -> None:
    """No more and no less, each once, by increasing index, in a range of each pool."""
    capacity = {"rows": 2 * size, "mmus": size}
    taken = {"free_striped": striped, "free_shared": shared, "free_mmus": mmus}
    taken = {stack: min(count, size) for stack, count in taken.items()}
    ends = ends_of(taken, capacity)
    assert _indexes(pools.given_out(ends, capacity, "rows")) == [
        *range(taken["free_striped"]),
        *range(size, size + taken["free_shared"]),
    ]
    assert len(pools.given_out(ends, capacity, "rows")) <= 2
    assert pools.given_out(ends, capacity, "mmus") == [(0, taken["free_mmus"])] * (mmus > 0)


def test_ranges_that_are_taken_from_at_once() -> None:
    """Two CPUs have each a range in hand: what lies between was not given out."""
    ends = list(NOTHING)
    ends[0], ends[3] = 1, 2
    found = pools.given_out(ends, {"rows": ROWS, "mmus": 7}, "rows")
    assert found == [(0, 1), (6, 2)]


def _indexes(ranges: pools.Ranges) -> list[int]:
    return [index for first, count in ranges for index in range(first, first + count)]
