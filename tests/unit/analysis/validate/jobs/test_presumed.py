"""Traces that say "no reverse map" of a kernel that has one, which its types do not tell."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nvscope.analysis.judging.findings import Finding, Result
from nvscope.analysis.report import verdicts
from nvscope.analysis.validate.jobs import pipe
from nvscope.analysis.validate.jobs.follow import follow
from nvscope.analysis.validate.jobs.presumed import NOTE
from nvscope.analysis.validate.jobs.run import validate
from nvscope.probes.traces.tracefile import TraceError
from tests.unit.analysis.mutations import no_revmap_stale, two_pages
from tests.unit.analysis.traces import Events, of_kind, without, written


def seen_of(events: Events) -> Events:
    """What a recorder sees that knows nothing of the map."""
    return [event for event in events if event.kind not in ("record", "fallback", "broken")]


UNMAPS = of_kind("unmap_begin", "unmap_end", detail="notifier")
# An MMU is in use and maps nothing of the range. A kernel without a map unmaps it all the same.
IDLE = without(no_revmap_stale().events, UNMAPS)
RIGHT = IDLE + seen_of(two_pages().events)[1:]
WRONG = RIGHT + without(seen_of(two_pages().events), UNMAPS)[1:] + RIGHT


def file_of(events: Events, folder: Path) -> Path:
    path = folder / "trace.arrows"
    path.write_bytes(written(events, variant="none"))
    return path


def followed(path: Path) -> tuple[Result, list[Finding]]:
    told: list[Finding] = []
    return follow(path, None, told.append), told


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("events", "violated"), [(RIGHT, {}), (WRONG, {"safety": 1})])
def test_behaviour_is_judged(
    tmp_path: Path, events: Events, violated: dict[str, int], jobs: int
) -> None:
    result = validate(file_of(events, tmp_path), jobs=jobs)
    assert dict(result.violations) == violated
    assert (result.variant, result.notes, set(result.lacks)) == (
        "behaviour",
        [NOTE],
        {"fallback", "precision", "conformance"},
    )
    assert [bool(finding.trace) for finding in result.findings] == [True] * len(violated)


def test_nothing_wrong_is_told_of_it_meanwhile(tmp_path: Path) -> None:
    result, told = followed(file_of(WRONG, tmp_path))
    assert (result.variant, result.notes) == ("behaviour", [NOTE])
    assert [finding.invariant for finding in told] == ["safety"]
    assert [bool(finding.trace) for finding in result.findings] == [True]


def test_a_kernel_without_a_map_that_does_nothing_is_told_at_the_end(tmp_path: Path) -> None:
    result, told = followed(file_of(IDLE, tmp_path))
    assert (result.variant, result.notes) == ("none", [])
    assert [finding.invariant for finding in told] == ["fallback"]
    assert told == result.findings


def test_who_asks_for_none_gets_it(tmp_path: Path) -> None:
    result = validate(file_of(RIGHT, tmp_path), variant="none")
    assert (result.variant, result.notes) == ("none", [])
    assert set(result.violations) == {"fallback"}


def test_a_pipe_that_was_too_much_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "MAX_KEPT_BYTES", 100)
    path, data = tmp_path / "fifo", written(RIGHT, variant="none")
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=[data])
    thread.start()
    with pytest.raises(TraceError, match="a file, or --variant behaviour"):
        followed(path)
    thread.join()


def test_a_report_says_the_same(tmp_path: Path) -> None:
    answers = {v.invariant: v.answer for v in verdicts.read(file_of(RIGHT, tmp_path))}
    assert answers["safety"] == "pass"
    assert answers["fallback"] == "not judged"
