"""The one place where a report learns what validation says of its trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.units import name, number
from nvscope.analysis.validate.findings import INVARIANTS, UNKNOWN, VIOLATION, Finding, Result
from nvscope.analysis.validate.parts import judge, variant_of

MAX_FINDINGS = 5  # of one invariant that a page tells; `nvscope validate` tells all
MAX_REASONS = 8


@dataclass(frozen=True)
class Verdict:
    """What was found of one invariant. answer: "pass" | "violation" | "unknown"."""

    invariant: str
    answer: str
    text: str
    details: tuple[str, ...] = ()


def read(path: Path) -> tuple[Verdict, ...]:
    """The verdicts on a trace: it is run through the reference model. Raises TraceError."""
    with open_source(path) as source:
        result = judge(source, variant_of(source.about, None))
    return verdicts(result)


def verdicts(result: Result) -> tuple[Verdict, ...]:
    """One for each invariant that was judged or broken, then what could not be judged."""
    said = [_verdict(result, invariant) for invariant in INVARIANTS if invariant != "honesty"]
    if result.unjudged:
        reasons = tuple(
            f"{number(count)}: {name(why, 200)}"
            for why, count in result.unjudged.most_common(MAX_REASONS)
        )
        total = sum(result.unjudged.values())
        text = f"{number(total)} decisions could not be judged; what is not known is no pass"
        said.append(Verdict("honesty", UNKNOWN, text, reasons))
    return tuple(said)


def _verdict(result: Result, invariant: str) -> Verdict:
    found = [finding for finding in result.findings if finding.invariant == invariant]
    judged = result.judged[invariant]
    text = f"{INVARIANTS[invariant]}. {number(judged)} decisions were compared"
    if found:
        told = tuple(_told(finding) for finding in found[:MAX_FINDINGS])
        if len(found) > MAX_FINDINGS:
            told += (f"and {number(len(found) - MAX_FINDINGS)} more",)
        return Verdict(invariant, VIOLATION, text, told)
    unknown = result.unjudged or result.hidden or not judged
    return Verdict(invariant, UNKNOWN if unknown else "pass", text)


def _told(finding: Finding) -> str:
    return (
        f"row {number(finding.row)}, MMU {finding.mmu:#x}: expected {name(finding.expected, 200)};"
        f" seen: {name(finding.seen, 200)}"
    )
