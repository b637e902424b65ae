"""A case, and how its counts are stated.

The counts are written by hand, from what the kernel's patches and mainline say they do, and are
held against the ledger's when a case runs: on with the reverse map that is a maple tree, tracking
with the other kind where that differs, off without one. What is not named is 0, but for the
*_mapped ones: these are as many as the faults, unless the case says otherwise. All begin with L1's
first instruction (1 canonical fault), and the first L2 run of a context or after a full unmap
faults in L2's code, besides its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nvscope.lab.workloads.cases.player import Player

# Counts at user_mem_abort -> those of the faults among them that mapped something.
_MAPPED = {
    "canonical_faults": "canonical_mapped",
    "shadow_faults": "shadow_mapped",
    "refaults": "refaults_mapped",
}


@dataclass(frozen=True)
class Case:
    """play: the case; on, off, tracking: its counts; huge: needs huge pages.

    injects: makes stores fail; late_vcpu: as NestedGuest's.
    """

    play: Callable[[Player], None]
    on: Mapping[str, int]
    off: Mapping[str, int]
    tracking: Mapping[str, int]
    huge: bool = False
    injects: bool = False
    late_vcpu: bool = False

    def stated(self, revmap: str) -> Mapping[str, int]:
        """The counts with this kind of reverse map: "none" | "maple" | "tracking"."""
        return {"none": self.off, "maple": self.on, "tracking": self.tracking}[revmap]


class Cases(dict[str, Case]):
    """Cases by name."""

    def case(
        self,
        *,
        on: Mapping[str, int],
        off: Mapping[str, int],
        tracking: Mapping[str, int] | None = None,
        **needs: bool,
    ) -> Callable[[Callable[[Player], None]], Callable[[Player], None]]:
        """Enter a function, by its name with dashes. needs: Case's fields of that kind.

        tracking: None where the counts are those of on.
        """
        tracked = on if tracking is None else tracking

        def enter(play: Callable[[Player], None]) -> Callable[[Player], None]:
            name = play.__name__.replace("_", "-")
            self[name] = Case(play, _whole(on), _whole(off), _whole(tracked), **needs)
            return play

        return enter


def counts(**counts: int) -> dict[str, int]:
    """Counts by name.

    >>> counts(refaults=1)
    {'refaults': 1}
    """
    return counts


def _whole(counts: Mapping[str, int]) -> dict[str, int]:
    """Add what goes without saying: see above."""
    stated = {"canonical_faults": 1, **counts}
    mapped = {_MAPPED[name]: count for name, count in stated.items() if name in _MAPPED}
    return mapped | stated
