"""What is to be done, in which order, and how long it will take, about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvscope.lab.series.checks.checks import CHECKS
from nvscope.lab.series.checks.facts import Facts
from nvscope.lab.series.checks.sizes import Sizes
from nvscope.lab.series.subjects.candidate import Candidate, parse
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.probes.errors import InputError

HOST = "host"  # what a kernel is: the first step of each, and no check that can be chosen
SEEDS, QUICK_SEEDS = 4, 2
# Seconds that each takes, quick and whole, on an emulated host that nothing else disturbs.
_SECONDS = {
    HOST: (40, 40),
    "cases": (90, 110),
    "random": (50, 120),
    "failures": (40, 90),
    "races": (35, 60),
    "selftests": (20, 70),
    "linux": (0, 150),
    "cost": (60, 60),
}
FORMAT = 1  # of the words that are kept
_MAY_GROW = ("subjects", "checks")  # results that are there stay what they are


@dataclass(frozen=True)
class Plan:
    """candidates: the first is what the others are compared with; checks: names, in order."""

    candidates: tuple[Candidate, ...]
    checks: tuple[str, ...]
    sizes: Sizes

    def asked(self) -> dict[str, Any]:
        """JSON's types only; `plan_of` reads it."""
        return {
            "format": FORMAT,
            "subjects": [candidate.name for candidate in self.candidates],
            "checks": list(self.checks),
            "quick": self.sizes.quick,
            "seeds": list(self.sizes.seeds),
            "cases": list(self.sizes.only),
        }

    def steps(self) -> list[tuple[int, str]]:
        """(number of the candidate, check), in order."""
        return [(n, name) for n in range(len(self.candidates)) for name in (HOST, *self.checks)]

    def seconds(self, steps: Iterable[tuple[int, str]], facts: Mapping[int, Facts]) -> float:
        """How long these steps take, about. facts: of the candidates that are known already."""
        return sum(self._seconds(check, facts.get(number)) for number, check in steps)

    def _seconds(self, check: str, facts: Facts | None) -> float:
        seconds = _SECONDS[check][not self.sizes.quick]
        if facts and self.sizes.is_slow(facts) and check in ("cases", "random", "cost"):
            return seconds + self.sizes.budget_seconds
        return seconds


def plan(
    words: Sequence[str],
    only: Sequence[str] = (),
    quick: bool = False,
    seeds: int | None = None,
    cases: Sequence[str] = (),
) -> Plan:
    """The plan that a user asks for. seeds: how many; only, cases: (): all. Raises InputError."""
    if len(words) < 2:
        raise InputError("a series is BASE and at least one SERIES: `nvscope lab series lab 6.18`")
    if len(set(words)) < len(words):
        twice = next(word for word in words if list(words).count(word) > 1)
        raise InputError(f"{twice} is there twice")
    many = seeds or (QUICK_SEEDS if quick else SEEDS)
    checks = tuple(name for name in CHECKS if name in only or not only)
    sizes = Sizes(quick, tuple(range(1, many + 1)), tuple(name for name in CASES if name in cases))
    return Plan(tuple(map(parse, words)), checks, sizes)


def joined(kept: Plan, asked: Plan, *, checks: bool, sizes: bool) -> Plan:
    """The subjects that are asked for, and the checks of the series that is kept.

    checks: add those that are asked for; sizes: take these as asked for, too.
    """
    wanted = {*kept.checks, *(asked.checks if checks else ())}
    return Plan(
        asked.candidates,
        tuple(name for name in CHECKS if name in wanted),
        asked.sizes if sizes else kept.sizes,
    )


def extends(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether these words only add to those that are kept: subjects behind them, or checks.

    >>> words = plan(["stock", "lab"], ["cases"]).asked()
    >>> extends(words, plan(["stock", "lab", "6.18"], ["cases", "cost"]).asked())
    True
    >>> extends(words, plan(["stock", "6.18", "lab"], ["cases"]).asked())
    False
    """
    same = all(kept.get(key) == value for key, value in asked.items() if key not in _MAY_GROW)
    subjects, checks = (list(kept.get(key, ())) for key in _MAY_GROW)
    return (
        same
        and subjects == asked["subjects"][: len(subjects)]
        and set(checks) <= set(asked["checks"])
    )


def plan_of(asked: Mapping[str, Any]) -> Plan:
    """The plan of which these are the words. Raises InputError."""
    try:
        if asked["format"] != FORMAT:
            raise InputError("these results are of another version of nvscope: begin anew")
        return plan(
            [str(word) for word in asked["subjects"]],
            [str(name) for name in asked["checks"]],
            bool(asked["quick"]),
            len(asked["seeds"]),
            [str(name) for name in asked["cases"]],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"the plan in the folder cannot be read ({error}): begin anew") from None
