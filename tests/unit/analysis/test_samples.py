"""The traces that come with the project: real recordings, of which the verdicts are known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nvscope.analysis.validate.jobs.run import validate
from nvscope.lab.workloads.cases.bugs import BUGS
from nvscope.probes.traces.tracefile import open_trace

SAMPLES = Path(__file__).resolve().parents[3] / "analysis/samples"

# File -> what it is there to show: (kind, detail) -> rows.
SHOWN = {
    "stock": {("unmap_end", "notifier"): 2, ("notifier_end", ""): 2},
    "revmap": {("unmap_end", "notifier"): 23, ("notifier_end", ""): 23},
    "fallback-overlap": {("fallback", "unknown_ipa"): 1, ("record", "overlapped"): 1},
    "fallback-failure": {("fallback", "broken"): 1, ("record", "failed"): 1},
    "recycling": {("mmu_recycle", ""): 2},
    "tracking": {("unmap_end", "notifier"): 4, ("record", "stored"): 7},
    "linux": {("unmap_end", "notifier"): 513, ("notifier_end", ""): 36},
}


# Mistake -> what else comes of it.
AND = {"known-overlap": ["safety"]}


def test_all_samples_are_known() -> None:
    assert {path.stem for path in SAMPLES.glob("*.arrows")} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_a_sample_passes(name: str) -> None:
    path = SAMPLES / f"{name}.arrows"
    result = validate(path)
    assert (result.findings, dict(result.unjudged), result.verdict) == ([], {}, "pass")
    with open_trace(path) as reader:
        rows = Counter((event.kind, event.detail) for event in reader.events())
        assert reader.complete
    assert {key: rows[key] for key in SHOWN[name]} == SHOWN[name]


def test_all_mistakes_have_a_sample() -> None:
    assert {path.stem for path in (SAMPLES / "bugs").glob("*.arrows")} == BUGS.keys()


@pytest.mark.parametrize("name", BUGS)
def test_a_mistake_is_found(name: str) -> None:
    """What it then does to safety is told as well, with the model or without it."""
    result = validate(SAMPLES / "bugs" / f"{name}.arrows")
    assert [found.invariant for found in result.findings] == [BUGS[name].breaks, *AND.get(name, ())]
