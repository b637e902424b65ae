"""What being probed costs a call, in instructions: a budget, which emulated time could not show."""

from __future__ import annotations

from bench.cost import EMPTY, OURS, PROBED, costs
from nvscope.lab import assets

# Times what an empty pair of programs costs (fentry and fexit).
MOST = 2.0


def test_a_call_costs_no_more_than_twice_an_empty_pair() -> None:
    found = {
        (cost.symbol, cost.tool): cost.instructions
        for cost in costs(assets.prepare(), (EMPTY, OURS))
    }
    print(found)
    for probed in PROBED:
        floor = found[probed.symbol, EMPTY.name]
        assert 100 < floor < found[probed.symbol, OURS.name] <= MOST * floor
