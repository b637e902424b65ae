"""Traces, judged by `nvscope validate` as a process of its own: the lab knows no model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvscope.lab.series.checks.facts import NONE, OFF, UNKNOWN
from nvscope.lab.series.checks.outcome import Problem

LIMIT_SECONDS = 900.0
# Of a reverse map that is not ours, what must hold on any kernel is judged, decisions are not.
# Where there is none for sure, a ranged unmap in a notifier is no sign of one: it is wrong.
_VARIANTS = {UNKNOWN: "behaviour", OFF: "none", NONE: "none"}
SAFETY = "safety"
# Why it is not known whether some mappings are there: analysis.judging.notifiers.MAYBE_GONE.
RACED = "made while an unmap of its range was under way"

# Of a trace's result: notifier unmaps; whole shadow MMUs that they unmapped; shadow mappings that
# they took in all, and those of them that led into their ranges. Not bytes: a single block mapping
# outweighs all pages.
FIGURES = ("notifiers", "full_unmaps", "unmapped", "needed")


@dataclass(frozen=True)
class Judgement:
    """What validation says of a trace.

    problems: the process of a VM -> what is wrong with it; doubt: why not all that has to be
    judged could be, "" where it was; raced: the same, of mappings that were made while they were
    unmapped; said: what was judged, in a line; figures: of FIGURES.
    """

    problems: Mapping[int, tuple[Problem, ...]]
    doubt: str
    said: str
    figures: Mapping[str, int] = field(default_factory=dict)
    raced: str = ""


def judge(trace: Path, revmap: str) -> Judgement:
    """Judge a trace. revmap: as in Facts."""
    variant = ["--variant", _VARIANTS[revmap]] if revmap in _VARIANTS else []
    # -P: the folder that we are in is no place for modules.
    command = [sys.executable, "-P", "-m", "nvscope", "validate", "--format", "json", *variant]
    try:
        done = subprocess.run(
            [*command, str(trace)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Judgement({}, f"`nvscope validate` did not end in {LIMIT_SECONDS:.0f} s", "")
    try:
        (result,) = json.loads(done.stdout)["files"]
    except (ValueError, KeyError, TypeError):
        return Judgement({}, f"`nvscope validate` failed: {done.stderr.strip()[-500:]}", "")
    return judgement(result, revmap)


def judgement(result: Mapping[str, Any], revmap: str) -> Judgement:
    """What the JSON of one file says."""
    if result["verdict"] is None:
        return Judgement({}, str(result["error"]), "")
    problems: dict[int, tuple[Problem, ...]] = {}
    for finding in result["findings"]:
        pid = int(finding["event"]["pid"])
        problems[pid] = (*problems.get(pid, ()), _problem(finding))
    figures = {name: int(result[name]) for name in FIGURES if name in result}
    # What follows a violation is not judged, and that is no doubt of it.
    doubts = {} if problems else _doubts(result, revmap)
    raced = {why: doubts.pop(why) for why in tuple(doubts) if why.endswith(f": {RACED}")}
    return Judgement(problems, _words(doubts), _said(result), figures, _words(raced))


def _said(result: Mapping[str, Any]) -> str:
    judged = ", ".join(f"{name} {count:,}" for name, count in result["judged"].items())
    return f"judged: {judged}" if judged else ""


def _doubts(result: Mapping[str, Any], revmap: str) -> dict[str, int]:
    """Why something is not known -> of how much."""
    if not result["judged"].get(SAFETY):
        return {"the trace has no notifier unmap that could be judged": 0}
    invariants = result.get("invariants")
    if invariants is None:
        known = result["verdict"] != "unknown" or revmap == UNKNOWN
        return {} if known else dict(result["unjudged"])
    # "not judged" is what this kernel, or its trace, does not let anyone judge.
    return {
        f"{name}: {why}": count
        for name, each in invariants.items()
        if each["verdict"] == "unknown"
        for why, count in each["unknown"].items()
    }


def _words(doubts: Mapping[str, int]) -> str:
    return "; ".join(f"{why} ({count:,})" if count else why for why, count in doubts.items())


def _problem(finding: Mapping[str, Any]) -> Problem:
    said = f"{finding['invariant']}: expected {finding['expected']}; seen {finding['seen']}"
    return Problem("violation", said, tuple(finding["lines"]))
