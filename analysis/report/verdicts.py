"""The one place where a report learns what validation says of its trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nvscope.analysis.judging.findings import (
    FULL_UNMAPS,
    INVARIANTS,
    NOT_JUDGED,
    OVER_UNMAP,
    UNKNOWN,
    Finding,
    Result,
)
from nvscope.analysis.units import name, number, ratio, size
from nvscope.analysis.validate.jobs.run import validate
from nvscope.analysis.validate.verdicts import Verdict as Judged
from nvscope.analysis.validate.verdicts import doubts_of
from nvscope.analysis.validate.verdicts import verdicts as verdicts_of

MAX_FINDINGS = 5  # of one invariant that a page tells; `nvscope validate` tells all
MAX_REASONS = 8


@dataclass(frozen=True)
class Verdict:
    """What was found of one invariant, or a figure.

    answer: as `nvscope validate` has it, "pass" | "violation" | "unknown" | "not judged"; or the
    figure.
    """

    invariant: str
    answer: str
    text: str
    details: tuple[str, ...] = ()


def read(path: Path) -> tuple[Verdict, ...]:
    """The verdicts on a trace: it is run through the reference model. Raises TraceError."""
    return verdicts(validate(path))


def verdicts(result: Result) -> tuple[Verdict, ...]:
    """One for each invariant, then what notifiers unmapped, then what could not be judged."""
    said = [_verdict(result, found) for found in verdicts_of(result)]
    if result.notifiers:
        said.append(_figures(result))
    if result.unjudged:
        total = sum(result.unjudged.values())
        text = f"{number(total)} decisions could not be judged; what is not known is no pass"
        said.append(Verdict("honesty", UNKNOWN, text, _reasons(result.unjudged)))
    return tuple(said)


def _verdict(result: Result, found: Judged) -> Verdict:
    text = f"{INVARIANTS[found.invariant]}. "
    if found.answer == NOT_JUDGED:
        return Verdict(found.invariant, found.answer, text + name(found.why, 200))
    text += f"{number(found.judged)} decisions were judged"
    findings = [finding for finding in result.findings if finding.invariant == found.invariant]
    told = tuple(_told(finding) for finding in findings[:MAX_FINDINGS])
    more = found.violations - len(told)
    if more > 0:
        told += (f"and {number(more)} more",)
    return Verdict(found.invariant, found.answer, text, told + _reasons(found.unknown))


def _figures(result: Result) -> Verdict:
    """A figure is neither right nor wrong: `nvscope validate --require` holds it to a bound."""
    text = (
        f"{number(result.notifiers)} notifier unmaps unmapped {size(result.unmapped_bytes)} in"
        f" {number(result.unmapped)} mappings; {size(result.needed_bytes)} in"
        f" {number(result.needed)} had to go. Of their shadow unmaps {number(result.full_unmaps)}"
        f" were full and {number(result.ranged_unmaps)} ranged; {number(result.needed_unmaps)}"
        f" were needed and {number(result.needless_unmaps)} needless"
    )
    over = ratio(result.unmapped_bytes, result.needed_bytes)
    doubts = doubts_of(result, OVER_UNMAP) | doubts_of(result, FULL_UNMAPS)
    return Verdict("over-unmap ratio", over, text, _reasons(doubts))


def _reasons(doubts: Counter[str]) -> tuple[str, ...]:
    return tuple(
        f"not known, {number(count)}: {name(why, 200)}"
        for why, count in doubts.most_common(MAX_REASONS)
    )


def _told(finding: Finding) -> str:
    return (
        f"row {number(finding.row)}, MMU {finding.mmu:#x}: expected {name(finding.expected, 200)};"
        f" seen: {name(finding.seen, 200)}"
    )
