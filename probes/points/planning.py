"""What to attach: a plan for each point that is asked for, and for those that their hooks need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.symbols import Variants
from nvscope.probes.points import programs
from nvscope.probes.points.catalog.hooks import ProbePoint
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import COUNTS, MECHANISMS, Mode
from nvscope.probes.points.programs import Plan, Program


@dataclass(frozen=True)
class PlanRequest:
    """What is asked for. points: in order; symbols: point -> the function to hook and no other;
    catalog: the points that there are, with the hooks of a points file in front where there is one.
    """

    points: Sequence[str]
    mechanisms: Sequence[str] = MECHANISMS
    symbols: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = COUNTS
    catalog: Mapping[str, ProbePoint] = field(default_factory=lambda: BY_NAME)


class Plans:
    """All plans of one module of programs; what fails is rejected, until what is left works.

    variants: the names that a function has in this kernel beside its own.
    """

    def __init__(self, wanted: PlanRequest, btf: Btf, variants: Variants) -> None:
        self._wanted = wanted
        self._btf = btf
        self._variants = variants
        self._plans = {name: self._plan(name) for name in wanted.points}
        self._helpers: dict[str, Plan] = {}
        self._searched: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether every point that was asked for can be had, or is told by another."""
        self.chosen()
        return all(plan.choices or plan.optional for plan in self._plans.values())

    def chosen(self) -> list[Program]:
        """The first choice of each point, and what these need; none of a point that has no more.

        What needs a program that cannot be had is rejected.
        """
        for plan in self._plans.values():
            self._settle(plan)
        first = [plan.choices[0] for plan in self._plans.values() if plan.choices]
        return [*first, *(self._helpers[name].choices[0] for name in self._needed(first))]

    def reject(self, point: str, problem: str) -> None:
        """A point's first choice failed."""
        (self._plans.get(point) or self._helpers[point]).reject(problem)

    def attachments(self) -> list[Attachment]:
        """What became of each point, and of those that the others need."""
        first = [plan.choices[0] for plan in self._plans.values() if plan.choices]
        helpers = [self._helpers[name] for name in self._needed(first)]
        return [plan.attachment() for plan in [*self._plans.values(), *helpers]]

    def _settle(self, plan: Plan) -> None:
        """Go on to the first choice whose needs can be had."""
        self._search(plan)
        while plan.choices and (lack := self._lack(plan.choices[0])):
            plan.reject(lack)
            self._search(plan)

    def _lack(self, program: Program) -> str:
        for name in program.needs:
            needed = self._plans.get(name) or self._helpers.setdefault(name, self._plan(name))
            self._settle(needed)
            if not needed.choices:
                return f"needs {name}: {needed.problem}"
        return ""

    def _needed(self, chosen: Iterable[Program]) -> Iterator[str]:
        """Points that these need and nobody has asked for, each once."""
        needs = dict.fromkeys(name for program in chosen for name in program.needs)
        return (name for name in needs if name not in self._plans)

    def _plan(self, name: str) -> Plan:
        w = self._wanted
        return programs.plan(w.catalog[name], w.mechanisms, w.symbols.get(name), self._btf, w.mode)

    def _search(self, plan: Plan) -> None:
        """Where nothing is left, look once whether a compiler has renamed the functions."""
        if plan.choices or plan.point in self._searched or plan.point in self._wanted.symbols:
            return
        self._searched.add(plan.point)
        w = self._wanted
        plan.attempts += programs.renamed(
            w.catalog[plan.point], w.mechanisms, self._variants, self._btf, w.mode
        )
