"""Whether two runs can be compared, and what to keep in mind where they can."""

from __future__ import annotations

from collections.abc import Iterator

from nvscope.analysis.compare.runs import Labels, Run
from nvscope.analysis.units import name, number
from nvscope.probes.counts.snapshot import INCLUDES, Durations
from nvscope.probes.errors import InputError

FEW_CALLS = 300  # resample.py: of fewer a mean's interval may be too narrow
_MUCH_LONGER = 1.1


def require_comparable(a: Run, b: Run, merged: bool) -> None:
    """Raise InputError unless both measured the same by the same labels (merged: any labels)."""
    if a.probe != b.probe:
        raise InputError(
            f"{a.name} is of {name(a.probe)} and {b.name} of {name(b.probe)}: two runs of one probe"
            " are wanted"
        )
    if set(a.by) != set(b.by) and not merged:
        raise InputError(
            f"{a.name} has groups {_by(a)} and {b.name} {_by(b)}: run the probe with the same"
            " --by, or compare their totals with --merge"
        )


def _by(run: Run) -> str:
    return f"by {', '.join(map(name, run.by))}" if run.by else "by nothing"


def caveats(a: Run, b: Run) -> Iterator[str]:
    """A line each."""
    for run in (a, b):
        if run.events_lost:
            causes = ", ".join(f"{name(c)} {number(n)}" for c, n in run.lost.items() if n)
            yield f"{run.name}: {number(run.events_lost)} events lost ({causes}): it lacks them"
        few = sum(group.durations.count < FEW_CALLS for group in run.groups)
        if few:
            yield (
                f"{run.name}: fewer than {FEW_CALLS} calls in {few} of {len(run.groups)} groups:"
                " the interval of the mean may be too narrow"
            )
        odd = sum(not _sum_fits(group.durations) for group in run.groups)
        if odd:
            yield f"{run.name}: in {odd} of {len(run.groups)} groups the sum does not fit the slots"
        if not run.groups:
            yield f"{run.name}: no calls"
    yield from _emulation(a, b)
    yield from _conditions(a, b)


def _sum_fits(durations: Durations) -> bool:
    """Whether the sum can be that of calls in these slots; the last slot has no end."""
    least = sum(n << i - 1 for i, n in enumerate(durations.slots) if i)
    most = sum(n << i for i, n in enumerate(durations.slots) if i)
    return least <= durations.sum_ns and (durations.sum_ns <= most or durations.slots[-1] > 0)


def _emulation(a: Run, b: Run) -> Iterator[str]:
    emulated = [run.name for run in (a, b) if run.emulated]
    if len(emulated) == 2:
        yield "both hosts were emulated: take proportions from this, no durations"
    elif emulated:
        yield f"the host of {emulated[0]} was emulated, the other not: they do not compare"


def _conditions(a: Run, b: Run) -> Iterator[str]:
    if a.arch != b.arch:
        yield f"one host is {name(a.arch)}, the other {name(b.arch)}"
    if a.includes != b.includes:
        included = " and ".join(
            f"{run.name}'s {'include ' + _included(run) if run.includes else 'do not'}"
            for run in sorted((a, b), key=lambda run: not run.includes)
        )
        yield f"durations are not of the same: {included}"
    shorter, longer = sorted((a.seconds, b.seconds))
    if longer > shorter * _MUCH_LONGER:
        times = f"{a.name} took {a.seconds:.3g} s, {b.name} {b.seconds:.3g} s"
        yield f"{times}: compare rates, no counts"
    for run, other in ((a, b), (b, a)):
        alone = unmatched(run, other)
        if alone:
            yield f"only in {run.name}, and in its total: {'; '.join(map(title, alone))}"


def _included(run: Run) -> str:
    return INCLUDES.get(run.includes, name(run.includes))


def unmatched(run: Run, other: Run) -> list[Labels]:
    """The groups of a run that the other has not."""
    there = {frozenset(group.labels) for group in other.groups}
    return [group.labels for group in run.groups if frozenset(group.labels) not in there]


def title(labels: Labels) -> str:
    r"""A group as people name it.

    >>> title((("vm", "alpha"), ("stage", "sha\ndow"))), title(())
    ('vm=alpha stage=sha dow', 'total')
    """
    return " ".join(f"{name(key)}={name(value)}" for key, value in labels) or "total"
