"""Two runs, group by group, and the conditions on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nvscope.analysis.compare.caveats import caveats, require_comparable, title
from nvscope.analysis.compare.conditions import YES, Condition
from nvscope.analysis.compare.measure import compare
from nvscope.analysis.compare.metrics import MetricRow, Plan, exact
from nvscope.analysis.compare.runs import Group, Labels, Run
from nvscope.probes.errors import InputError

TOTAL: Labels = ()


@dataclass(frozen=True)
class Verdict:
    """A condition on a group. holds: conditions.YES, NO or DOUBT; failed: it is not to be."""

    condition: Condition
    labels: Labels
    row: MetricRow
    holds: str
    failed: bool


@dataclass(frozen=True)
class Comparison:
    """All that `nvscope compare` has found. groups: labels -> rows; TOTAL is the last of them."""

    a: Run
    b: Run
    plan: Plan
    lost: MetricRow
    groups: dict[Labels, tuple[MetricRow, ...]]
    caveats: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether any condition is met that is not to be."""
        return any(verdict.failed for verdict in self.verdicts)


def compare_runs(
    a: Run, b: Run, plan: Plan, conditions: Sequence[Condition], *, merge: bool, by_estimate: bool
) -> Comparison:
    """Compare, and judge. Raises InputError where that makes no sense.

    merge: only the total. by_estimate: a condition that the estimate meets is met; else one that
    the whole interval does.
    """
    require_comparable(a, b, merge)
    pairs = [] if merge else list(_matched(a, b))
    # One group is the total as well, if there is no other in either run.
    if not (len(pairs) == len(a.groups) == len(b.groups) == 1):
        pairs.append((a.total(), b.total()))
    groups = {left.labels: compare(left, right, (a, b), plan) for left, right in pairs}
    lost = exact("lost", a.events_lost, b.events_lost)
    verdicts = [v for each in conditions for v in _verdicts(each, groups, lost, by_estimate)]
    return Comparison(a, b, plan, lost, groups, tuple(caveats(a, b)), tuple(verdicts))


def _matched(a: Run, b: Run) -> Iterator[tuple[Group, Group]]:
    others = {frozenset(group.labels): group for group in b.groups}
    for group in a.groups:
        if other := others.get(frozenset(group.labels)):
            yield group, other


def _verdicts(
    condition: Condition,
    groups: dict[Labels, tuple[MetricRow, ...]],
    lost: MetricRow,
    by_estimate: bool,
) -> Iterable[Verdict]:
    if condition.metric == lost.metric:
        return [_verdict(condition, TOTAL, lost, by_estimate)]
    found = [
        _verdict(condition, labels, row, by_estimate)
        for labels, rows in groups.items()
        for row in rows
        if row.metric == condition.metric and condition.of(labels)
    ]
    if not found:
        raise InputError(
            f"--fail-if {condition.text!r}: no group of both runs has {title(condition.labels)}"
        )
    return found


def _verdict(condition: Condition, labels: Labels, row: MetricRow, by_estimate: bool) -> Verdict:
    holds = condition.holds(row)
    failed = condition.holds_by_estimate(row) if by_estimate else holds == YES
    return Verdict(condition, labels, row, holds, failed)
