"""`--require`: what must be so of a trace, beyond that nothing is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nvscope.analysis.judging.findings import (
    FULL_UNMAPS,
    NOT_JUDGED,
    OVER_UNMAP,
    PASS,
    UNKNOWN,
    Result,
)
from nvscope.analysis.validate.verdicts import JUDGED, doubts_of, told, verdict

MET, UNMET = "met", "unmet"

_BOUND = re.compile(r"([a-z_]+)\s*(<=|<|=)\s*(\S*)")
_FIGURES = {"precision": OVER_UNMAP, "full_unmaps": FULL_UNMAPS}
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
    "=": lambda value, bound: value == bound,
}


class SpecError(ValueError):
    """A requirement that makes no sense; its text says why."""


@dataclass(frozen=True)
class Requirement:
    """An invariant that has to be judged, and right; or, with a relation, a bound on a figure.

    subject: an invariant, OVER_UNMAP or FULL_UNMAPS; written: as the user has it.
    """

    written: str
    subject: str
    relation: str = ""
    bound: float = 0


@dataclass(frozen=True)
class Answer:
    """What became of a requirement. answer: MET, UNMET or UNKNOWN; why: "" of what is met."""

    requirement: str
    answer: str
    why: str = ""


def parse(spec: str) -> list[Requirement]:
    """Requirements with commas between them. Raises SpecError.

    >>> [r.subject for r in parse("safety, precision<=1.5,full_unmaps=0")]
    ['safety', 'over_unmap_ratio', 'full_unmaps']
    """
    return [_requirement(part.strip()) for part in spec.split(",")]


def _requirement(written: str) -> Requirement:
    if written in JUDGED:
        return Requirement(written, written)
    match = _BOUND.fullmatch(written)
    if match is None:
        names = ", ".join(JUDGED)
        raise SpecError(
            f"{written!r:.60} is no requirement: there are {names}, and bounds like"
            " precision<=1.5 and full_unmaps=0"
        )
    name, relation, number = match.groups()
    subject = _FIGURES.get(name)
    if subject is None:
        raise SpecError(f"{name!r:.60} has no bound: only {' and '.join(_FIGURES)} have one")
    if not _NUMBER.fullmatch(number):
        raise SpecError(f"{written!r:.60}: {number!r:.40} is no number")
    return Requirement(written, subject, relation, float(number))


def answers(result: Result, requirements: Sequence[Requirement]) -> list[Answer]:
    """What became of each."""
    return [_answer(result, requirement) for requirement in requirements]


def _answer(result: Result, wanted: Requirement) -> Answer:
    if wanted.subject == FULL_UNMAPS:
        return _of_full_unmaps(result, wanted)
    if wanted.subject == OVER_UNMAP:
        return _of_ratio(result, wanted)
    found = verdict(result, wanted.subject)
    if found.answer == PASS:
        return Answer(wanted.written, MET)
    if found.answer == UNKNOWN:
        return Answer(wanted.written, UNKNOWN, told(found.unknown))
    if found.answer == NOT_JUDGED:
        return Answer(wanted.written, UNMET, f"it was not judged: {found.why}")
    wrong = found.violations
    said = "there is 1 violation" if wrong == 1 else f"there are {wrong:,} violations"
    return Answer(wanted.written, UNMET, said)


def _of_full_unmaps(result: Result, wanted: Requirement) -> Answer:
    """Whatever was lost, there were no fewer than were seen."""
    seen, holds = result.full_unmaps, _HOLDS[wanted.relation]
    doubts = doubts_of(result, FULL_UNMAPS)
    said = f"there {'was' if seen == 1 else 'were'} {seen:,}"
    if doubts and (holds(seen, wanted.bound) or seen < wanted.bound):
        return Answer(wanted.written, UNKNOWN, told(doubts))
    return _of_bound(wanted, holds(seen, wanted.bound), said, result)


def _of_ratio(result: Result, wanted: Requirement) -> Answer:
    doubts = doubts_of(result, OVER_UNMAP)
    if doubts:
        return Answer(wanted.written, UNKNOWN, told(doubts))
    ratio = result.over_unmap_ratio
    if ratio is None:  # nothing had to go
        ratio = math.inf if result.unmapped_bytes else 1.0
    said = f"the over-unmap ratio is {ratio:.6g}"
    return _of_bound(wanted, _HOLDS[wanted.relation](ratio, wanted.bound), said, result)


def _of_bound(wanted: Requirement, holds: bool, said: str, result: Result) -> Answer:
    if not result.notifiers:
        return Answer(wanted.written, UNKNOWN, "there was no notifier unmap")
    return Answer(wanted.written, MET) if holds else Answer(wanted.written, UNMET, said)
