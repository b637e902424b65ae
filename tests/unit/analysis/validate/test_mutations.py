"""Traces altered in every way that a bug in the kernel could: each is found, and named right.

| what is wrong | invariant |
| --- | --- |
| a mapping into the range is left when the notifier unmap is done | safety |
| all of an MMU is unmapped with no need, with no reason, or not where it had to be | fallback |
| more is unmapped than the entry met, or something where no entry was met | precision |
| a record's outcome, a fallback's reason, the range of an unmap is another than the model's, | |
| a mapping is made unrecorded, an entry is left whose mapping is long gone | conformance |
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvscope.probes.traces.events import DETAILS
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.mutations import (
    MUTATIONS,
    STORIES,
    UNMAPS,
    C,
    Change,
    N,
    one_page,
    stale,
    variant,
)
from tests.unit.analysis.traces import (
    M1,
    VM,
    booted,
    changed,
    found,
    judged,
    of_kind,
    without,
)


@pytest.mark.parametrize("story", STORIES)
def test_what_a_correct_kernel_does_passes(story: Callable[[], Kernel]) -> None:
    result = judged(story().events, variant(story))
    assert result.verdict == "pass"
    assert result.judged["safety"] > 0


@pytest.mark.parametrize(
    ("story", "change", "invariants"),
    [case[1:] for case in MUTATIONS],
    ids=[case[0] for case in MUTATIONS],
)
def test_what_a_wrong_kernel_does_is_found(
    story: Callable[[], Kernel], change: Change, invariants: set[str]
) -> None:
    assert found(change(story().events), variant(story)) == invariants


OUTCOMES = ("stored", "overlapped", "unchanged")


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (number, wrong)
        for number, right in enumerate(OUTCOMES)
        for wrong in DETAILS["record"]
        # A store may fail, but only where something is to be stored; "unknown" says nothing.
        if wrong not in (right, "unknown") and not (wrong == "failed" and right != "unchanged")
    ],
)
def test_every_other_outcome_of_a_record_is_found(number: int, wrong: str) -> None:
    """The same canonical page at three nested IPAs, the last one within UNKNOWN_IPA."""
    kernel = booted()
    for nested in (N, N + PAGE, N + BLOCK):
        kernel.fault(VM, M1, nested, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    rows = [index for index, e in enumerate(kernel.events) if e.kind == "record"]
    right = OUTCOMES[number]
    assert kernel.events[rows[number]].detail == right
    events = list(kernel.events)
    events[rows[number]] = changed([events[rows[number]]], of_kind("record"), detail=wrong)[0]
    result = judged(events)
    assert [(f.invariant, f.row, f.expected) for f in result.findings] == [
        ("conformance", rows[number], right)
    ]


def test_one_cause_is_one_finding() -> None:
    """After a finding, what that MMU decides is not judged until its next full unmap."""
    kernel = one_page()
    for _ in range(3):
        kernel.fault(VM, M1, N, C, PAGE)
        kernel.notifier(VM, C, PAGE)
    first = max(i for i, e in enumerate(kernel.events[:14]) if e.kind == "record")
    events = [e for i, e in enumerate(kernel.events) if i != first]
    assert len(judged(events).findings) == 1
    kernel.recycle(VM, M1)
    kernel.fault(VM, M1, N, C, PAGE)
    kernel.notifier(VM, C, PAGE)
    events = [e for i, e in enumerate(kernel.events) if i != first]
    events = events[:-3] + events[-1:]
    assert [f.invariant for f in judged(events).findings] == ["conformance", "safety"]


def test_v3_takes_out_entries_at_a_tlbi_and_v2_does_not() -> None:
    """v3: removes entries on TLBI. v2 leaves the tree's entries: a needless ranged unmap."""
    assert found(stale().events, "maple-v2") == set()
    assert found(stale().events, "maple-v3") == {"precision"}
    assert found(without(stale().events, UNMAPS), "maple-v3") == set()
