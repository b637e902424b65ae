"""The verdict on each invariant by itself, and how well a figure is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nvscope.analysis.judging.findings import (
    INVARIANTS,
    NOT_JUDGED,
    PASS,
    UNKNOWN,
    VIOLATION,
    Result,
)

# What findings may be of.
JUDGED = tuple(invariant for invariant in INVARIANTS if invariant != "honesty")
NOTHING = "there was nothing to judge"


@dataclass(frozen=True)
class Verdict:
    """On one invariant. answer: PASS, VIOLATION, UNKNOWN or NOT_JUDGED.

    judged: decisions that were judged; violations: of these. unknown: why -> what could not be
    judged. why: of NOT_JUDGED, the reason, else "".
    """

    invariant: str
    answer: str
    judged: int
    violations: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    why: str = ""


def verdicts(result: Result) -> list[Verdict]:
    """One for each invariant, of findings.INVARIANTS, that a finding may be of."""
    return [verdict(result, invariant) for invariant in JUDGED]


def verdict(result: Result, invariant: str) -> Verdict:
    """That on one of them."""
    judged, violations = result.judged[invariant], result.violations[invariant]
    lack = result.lacks.get(invariant, "")
    doubts = Counter[str]() if lack else doubts_of(result, invariant)
    if violations:
        return Verdict(invariant, VIOLATION, judged, violations, doubts)
    if lack:
        return Verdict(invariant, NOT_JUDGED, judged, why=lack)
    if doubts:
        return Verdict(invariant, UNKNOWN, judged, unknown=doubts)
    # Each end of a notifier unmap is a look at whether it fell back where it had to, and took no
    # more than that: for none of both there has to be a decision of its own.
    if judged or (invariant != "conformance" and result.judged["safety"]):
        return Verdict(invariant, PASS, judged)
    return Verdict(invariant, NOT_JUDGED, judged, why=NOTHING)


def doubts_of(result: Result, subject: str) -> Counter[str]:
    """Why not all is known of an invariant or of a figure, one of findings.SUBJECTS."""
    doubts = Counter({why: n for (about, why), n in result.unknown.items() if about == subject})
    if result.blind:
        doubts[result.blind] += 1
    return doubts


def told(doubts: Counter[str]) -> str:
    """Reasons in a line, most come first.

    >>> told(Counter({"events were lost": 3}))
    'events were lost (3)'
    """
    ordered = sorted(doubts.items(), key=lambda doubt: (-doubt[1], doubt[0]))
    return ", ".join(f"{why} ({n:,})" for why, n in ordered)
