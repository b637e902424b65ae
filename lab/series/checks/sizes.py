"""How much of each check: by what the user asks for, and by what a full unmap takes on a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from nvscope.lab.runs.selftests import SELFTESTS, Selftest
from nvscope.lab.series.checks.facts import Facts
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.lab.workloads.cases.stated import Case

SLOW_SECONDS = 3.0  # a full unmap that takes longer makes all take minutes
_QUICK_TESTS = ("hello_el2", "demand_paging_test", "memslot_modification_stress_test")
# Seconds that the full unmaps of a check may take.
_QUICK_BUDGET, _BUDGET = 90.0, 1200.0
MOST_SAMPLES, FEWEST_SAMPLES = 20, 4


@dataclass(frozen=True)
class Sizes:
    """What the user asked for. only: names of cases, (): all of them."""

    quick: bool
    seeds: tuple[int, ...]
    only: tuple[str, ...] = ()

    @property
    def operations(self) -> int:
        """Random ones, of each seed."""
        return 150 if self.quick else 300

    @property
    def records(self) -> int:
        """Of which a tenth fail."""
        return 200 if self.quick else 1000

    @property
    def race_seconds(self) -> float:
        """How long notifiers and full unmaps race."""
        return 5.0 if self.quick else 20.0

    @property
    def selftests(self) -> tuple[Selftest, ...]:
        """KVM's, that are run."""
        return tuple(t for t in SELFTESTS if not self.quick or t.name in _QUICK_TESTS)

    @property
    def budget_seconds(self) -> float:
        """That the full unmaps of a check may take."""
        return _QUICK_BUDGET if self.quick else _BUDGET

    def is_slow(self, facts: Facts) -> bool:
        """Whether full unmaps decide how long all takes."""
        return facts.unmap_seconds > SLOW_SECONDS

    def why(self, facts: Facts) -> str:
        """Why something is left out on a slow kernel."""
        quick = "--quick: " if self.quick else ""
        return f"{quick}a full unmap takes {facts.unmap_seconds:.0f} s on this kernel, emulated"

    def cases(self, facts: Facts) -> frozenset[str]:
        """Those that were asked for, else those that fit the budget, the cheapest first."""
        if self.only:
            return frozenset(self.only)
        chosen, spent = [], 0.0
        for name, case in sorted(CASES.items(), key=lambda each: _full_unmaps(each[1])):
            spent += _full_unmaps(case) * (facts.unmap_seconds if self.is_slow(facts) else 0)
            if spent > self.budget_seconds:
                break
            chosen.append(name)
        return frozenset(chosen)

    def full_unmaps(self, facts: Facts) -> int:
        """The most in one seed of random operations."""
        most = 40 if self.quick else 80
        if not self.is_slow(facts):
            return most
        return max(1, int(self.budget_seconds / facts.unmap_seconds / len(self.seeds)))

    def samples(self, facts: Facts) -> int:
        """Take-backs whose instructions are counted."""
        within = int(self.budget_seconds / facts.unmap_seconds)
        return max(FEWEST_SAMPLES, min(MOST_SAMPLES, within))


def _full_unmaps(case: Case) -> int:
    """Where each notifier unmaps all."""
    return sum(count for name, count in case.off.items() if name.startswith("full_unmaps"))
