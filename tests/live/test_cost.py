"""What being probed costs a call, in instructions, which no load of this machine changes."""

from __future__ import annotations

from bench.cost import EMPTY, OURS, PROBED, costs
from nvscope.lab import assets

# The budget: times what an empty pair of programs costs (fentry and fexit).
MOST = 2.0


def test_a_call_costs_at_most_twice_an_empty_pair() -> None:
    """In one of two boots: between them the counts differ by up to forty (bench/README.md)."""
    assert not (_over() and _over())


def _over() -> list[str]:
    """The functions of which a call costs more than the budget in a boot."""
    found = {
        (cost.symbol, cost.tool): cost.instructions
        for cost in costs(assets.prepare(), (EMPTY, OURS))
    }
    print(found)
    over = []
    for probed in PROBED:
        floor = found[probed.symbol, EMPTY.name]
        cost = found[probed.symbol, OURS.name]
        assert 250 < floor < cost
        if cost > MOST * floor:
            over.append(probed.symbol)
    return over
