"""What `nvscope validate` says of a trace, as a series takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.analysis.judging.notifiers import MAYBE_GONE
from nvscope.lab.series.checks.judge import FIGURES, RACED, judge, judgement
from nvscope.lab.series.checks.outcome import Problem


def finding(invariant: str, pid: int) -> dict[str, object]:
    return {
        "invariant": invariant,
        "expected": "a",
        "seen": "b",
        "event": {"pid": pid},
        "lines": ["  1. safety"],
    }


def test_findings_are_of_their_processes() -> None:
    result = {
        "verdict": "violation",
        "judged": {"safety": 3},
        "unjudged": {"after a finding": 2},
        "findings": [finding("safety", 7), finding("fallback", 8), finding("precision", 7)],
    }
    found = judgement(result, "on")
    assert {pid: len(problems) for pid, problems in found.problems.items()} == {7: 2, 8: 1}
    assert found.problems[7][0] == Problem(
        "violation", "safety: expected a; seen b", ("  1. safety",)
    )
    assert found.doubt == ""


def test_what_could_not_be_judged_is_said() -> None:
    lost: dict[str, object] = {
        "verdict": "unknown",
        "judged": {"safety": 3},
        "unjudged": {"lost": 2},
        "findings": [],
    }
    assert judgement(lost, "on").doubt == "lost (2)"
    nothing = {"verdict": "unknown", "judged": {}, "unjudged": {}, "findings": []}
    assert judgement(nothing, "unknown").doubt
    lost["invariants"] = {
        "safety": {"verdict": "unknown", "unknown": {"events were lost": 2}},
        "precision": {"verdict": "not judged", "unknown": {}},
    }
    assert judgement(lost, "unknown").doubt == "safety: events were lost (2)"
    unreadable = {"verdict": None, "error": "t: no trace"}
    assert judgement(unreadable, "on").doubt == "t: no trace"


def test_mappings_of_which_no_trace_tells_are_told_apart() -> None:
    unknown = {MAYBE_GONE: 24, "events were lost": 2}
    result = {
        "verdict": "unknown",
        "judged": {"safety": 500},
        "unjudged": unknown,
        "invariants": {"safety": {"verdict": "unknown", "unknown": unknown}},
        "findings": [],
    }
    found = judgement(result, "unknown")
    assert (found.doubt, found.raced) == (
        "safety: events were lost (2)",
        f"safety: {RACED} (24)",
    )


SAMPLES = Path(__file__).resolve().parents[5] / "analysis/samples"


@pytest.mark.parametrize("revmap", ["on", "unknown"])
def test_a_survivor_is_found_whatever_is_known_of_the_reverse_map(revmap: str) -> None:
    """By the command itself, as a series runs it."""
    found = judge(SAMPLES / "bugs/lost-record.arrows", revmap)
    (problems,) = found.problems.values()
    assert problems[0].said.startswith("safety: ")
    assert any("notifier_end" in line for line in problems[0].lines)
    assert set(found.figures) == set(FIGURES)


def test_decisions_of_another_reverse_map_are_not_judged() -> None:
    """It breaks a rule of ours; no mapping survived."""
    trace = SAMPLES / "bugs/stay-broken.arrows"
    assert judge(trace, "on").problems
    unknown = judge(trace, "unknown")
    assert (unknown.problems, unknown.doubt) == ({}, "")
    assert "safety" in unknown.said


@pytest.mark.parametrize("revmap", ["none", "off"])
def test_a_ranged_unmap_is_wrong_where_there_is_no_reverse_map(revmap: str) -> None:
    trace = SAMPLES / "revmap.arrows"
    assert not judge(trace, "on").problems
    problems = [each for pid in judge(trace, revmap).problems.values() for each in pid]
    assert {problem.said.partition(":")[0] for problem in problems} == {"fallback", "conformance"}


def test_a_trace_that_is_none_is_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "t.arrows").write_text("no trace")
    assert "t.arrows" in judge(tmp_path / "t.arrows", "on").doubt
    assert "t2.arrows" in judge(tmp_path / "t2.arrows", "on").doubt
