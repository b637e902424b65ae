"""Sub-traces: the rows that show a finding, as few as can be found."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nvscope.analysis.judging.findings import Finding
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate import shrink, subtrace
from nvscope.analysis.validate.jobs import progress
from nvscope.analysis.validate.jobs.local import Here
from nvscope.analysis.validate.jobs.run import traces_of, validate
from nvscope.analysis.validate.shrink import Budget, ddmin
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.mutations import MUTATIONS, variant
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, about_of, booted, written

C, N = 4 * BLOCK, 9 * BLOCK


@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=5))
@PROFILE
def test_ddmin_finds_just_what_is_needed(size: int, needed: set[int]) -> None:
    wanted = {n for n in needed if n < size}
    assert set(ddmin(range(size), lambda left: wanted <= set(left), Budget())) == wanted


def test_ddmin_gives_up_in_time() -> None:
    budget = Budget(300)
    left = ddmin(range(1000), lambda left: {3, 700} <= set(left), budget)
    assert budget.spent
    assert {3, 700} <= set(left)


def findings(path: Path, events: list[Event], revmap: str = "maple-v2") -> list[Finding]:
    path.write_bytes(
        written(events[: len(events) // 2], events[len(events) // 2 :], variant=revmap)
    )
    return validate(path, variant=revmap).findings


@pytest.mark.parametrize(
    ("story", "change"), [case[1:3] for case in MUTATIONS], ids=[case[0] for case in MUTATIONS]
)
def test_every_finding_is_shown_by_its_sub_trace(
    story: Callable[[], Kernel],
    change: Callable[[list[Event]], list[Event]],
    tmp_path: Path,
) -> None:
    """It shows the same invariant at the same final event, and no row can be left out."""
    revmap = variant(story)
    found = findings(tmp_path / "trace.arrows", change(story().events), revmap)
    assert found
    for finding in found:
        shown = (about_of(revmap), VARIANTS[revmap])
        assert finding.note == ""
        assert finding.trace[-1] == (finding.row, finding.event)
        assert subtrace.shows(finding.trace, finding, *shown)
        for left_out in range(len(finding.trace) - 1):
            less = finding.trace[:left_out] + finding.trace[left_out + 1 :]
            assert not subtrace.shows(less, finding, *shown)


def long_story() -> list[Event]:
    kernel = booted()
    for page in range(50):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.events[-3:] = []
    kernel.events.append(Event("map", kvm=VM, mmu=M1, nested_ipa=0, canonical_ipa=0, size=PAGE))
    return kernel.events


def test_it_begins_where_the_mmu_was_last_empty(tmp_path: Path) -> None:
    kernel = booted()
    kernel.events += long_story()[3:50]
    kernel.recycle(VM, M1)
    begin = len(kernel.events) - 2
    kernel.events.append(Event("map", kvm=VM, mmu=M1, nested_ipa=0, canonical_ipa=0, size=PAGE))
    (finding,) = findings(tmp_path / "trace.arrows", kernel.events)
    assert finding.since == begin
    assert [at for at, _ in finding.trace] == [begin, len(kernel.events) - 1]


def test_what_is_too_long_is_cut_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subtrace, "MAX_ROWS", 20)
    (finding,) = findings(tmp_path / "trace.arrows", long_story())
    assert len(finding.trace) <= 20
    assert "last 20 of more rows" in finding.note


def test_a_search_that_takes_too_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrink.Budget.__init__, "__defaults__", (150,))
    (finding,) = findings(tmp_path / "trace.arrows", long_story())
    assert "took too long" in finding.note
    assert finding.trace[-1][0] == finding.row


def test_many_findings_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtrace, "MAX_TRACED", 2)
    kernel = booted()
    for _ in range(5):
        kernel.recycle(VM, M1)
        kernel.events.append(Event("map", kvm=VM, mmu=M1, size=PAGE))
    found = findings(tmp_path / "trace.arrows", kernel.events)
    assert [len(finding.trace) for finding in found] == [2, 2, 0, 0, 0]
    assert "only the first 2" in found[-1].note


def test_what_was_unmapped_against_what_had_to_be(tmp_path: Path) -> None:
    """The over-unmap ratio: bytes unmapped / bytes of shadow mappings that had to go."""
    kernel = booted()
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.fault(VM, M1, N + PAGE, C, PAGE)
    for page in range(2, 8):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
    kernel.notifier(VM, C, PAGE)
    path = tmp_path / "trace.arrows"
    path.write_bytes(written(kernel.events))
    result = validate(path)
    assert (result.unmapped_bytes, result.needed_bytes) == (8 * PAGE, 2 * PAGE)
    assert result.over_unmap_ratio == 4


def test_a_large_file_has_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, terminal = tmp_path / "trace.arrows", io.StringIO()
    path.write_bytes(written(long_story()))

    def console(**_: object) -> Console:
        return Console(file=terminal, force_terminal=True, width=80)

    monkeypatch.setattr(progress, "Console", console)
    monkeypatch.setattr(progress, "_LARGE_BYTES", 0)
    with progress.showing(path, traces_of(path), Here()) as told:
        validate(path, progress=told)
    assert f"{len(long_story())} rows" in terminal.getvalue()
    assert terminal.getvalue().count("\n") <= 2
