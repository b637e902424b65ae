"""Records of several vCPUs at once: their rows may be in another order than the kernel's."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.judging.records import MAX_GROUP, TOO_MANY
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, PAGE
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, Events, booted, judged

C, N = 4 * BLOCK, 9 * BLOCK


def record(tid: int, nested: int, outcome: str, begin: int, end: int, size: int = PAGE) -> Event:
    where = {"kvm": VM, "mmu": M1, "canonical_ipa": C, "nested_ipa": nested, "size": size}
    times = {"time_ns": end, "duration_ns": end - begin}
    return Event("record", tid=tid, detail=outcome, **times, **where)  # type: ignore[arg-type]


def at(events: Events) -> Events:
    return booted().events + events


def test_calls_that_overlapped_may_have_come_in_another_order() -> None:
    """Of calls of different vCPUs among themselves, the rows may commute."""
    first = record(1, N, "stored", 1000, 2000)
    second = record(2, N + PAGE, "overlapped", 1500, 1900)
    assert judged(at([second, first])).judged["conformance"] == 2
    assert not judged(at([second, first])).findings


def test_calls_that_did_not_overlap_have_an_order() -> None:
    first = record(1, N, "stored", 1950, 2000)
    second = record(2, N + PAGE, "overlapped", 1500, 1900)
    found = judged(at([second, first])).findings
    assert [(f.row, f.expected, f.seen) for f in found] == [(3, "stored", "overlapped")]


def test_calls_of_one_task_have_an_order() -> None:
    first = record(1, N, "stored", 1000, 2000)
    second = record(1, N + PAGE, "overlapped", 1500, 1900)
    assert judged(at([second, first])).findings


def test_a_failure_may_be_told_of_late() -> None:
    """The tree's lock is let go of before the row is written: "skipped" may be read before why."""
    failed = record(1, N, "failed", 1000, 2000)
    skipped = record(2, N + PAGE, "skipped", 1500, 1900)
    kernel = booted()
    kernel.events += [skipped, failed]
    kernel.vms[VM][M1].broken = True
    kernel.notifier(VM, C, PAGE)
    assert judged(kernel.events).verdict == "pass"
    alone = [e for e in kernel.events if e is not failed]
    assert [f.seen for f in judged(alone).findings] == ["skipped"]


def test_a_puzzle_is_solved_before_something_is_unmapped() -> None:
    """Unmaps hold mmu_lock for write, records for read: no call goes on over an unmap."""
    kernel = booted()
    kernel.events.append(record(2, N + PAGE, "overlapped", 1500, 1900))
    kernel.tlbi(VM, M1, 0, PAGE)
    late = record(1, N, "stored", 1000, 90_000)
    result = judged([*kernel.events, late])
    assert [f.row for f in result.findings] == [3]


def test_more_calls_than_can_be_sorted_are_unknown() -> None:
    calls = [record(t, N + t * PAGE, "overlapped", 1000, 2000 + t) for t in range(MAX_GROUP + 1)]
    result = judged(at(calls))
    assert not result.findings
    assert result.unjudged[TOO_MANY] == 1


def test_a_bug_among_many_calls_is_found() -> None:
    """Two were stored where one had to overlap: no order explains that."""
    calls = [record(t, N + t * PAGE, "stored", 1000, 2000 + t) for t in range(2)]
    later = [record(9, N, "unchanged", 3000 + t, 3001 + t) for t in range(60)]
    found = judged(at(calls + later)).findings
    assert [(f.row, f.seen) for f in found] == [(4, "stored")]


kinds = st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from([PAGE, BLOCK]), st.booleans())


@given(st.lists(kinds, min_size=1, max_size=6), st.permutations(range(6)))
@PROFILE
def test_any_order_of_rows_is_explained(
    wanted: list[tuple[int, int, bool]], order: list[int]
) -> None:
    kernel = booted()
    it = kernel.vms[VM][M1]
    rows = []
    for tid, (page, size, fails) in enumerate(wanted):
        canonical = (C + page * PAGE) & -size
        outcome = it.record(N, canonical, size, fails)
        where = {"kvm": VM, "mmu": M1, "canonical_ipa": canonical, "nested_ipa": N, "size": size}
        rows.append((tid, outcome, where))
    for place, index in enumerate(i for i in order if i < len(rows)):
        tid, outcome, where = rows[index]
        times = {"time_ns": 90_000 + place, "duration_ns": 80_000}
        kernel.events.append(Event("record", tid=tid, detail=outcome, **times, **where))  # type: ignore[arg-type]
    kernel.notifier(VM, C, BLOCK)
    assert judged(kernel.events).verdict == "pass"


@pytest.mark.parametrize("size", [2, 3, 4])
def test_outcomes_that_no_order_has_are_found(size: int) -> None:
    """Of calls for the same canonical page, just one finds nothing there."""
    for outcomes in permutations(["stored", "stored", "overlapped", "unchanged"][:size]):
        calls = [record(t, N + t * PAGE, o, 1000, 2000 + t) for t, o in enumerate(outcomes)]
        assert {f.invariant for f in judged(at(calls)).findings} == {"conformance"}


def test_rows_of_other_kinds_between_do_not_matter() -> None:
    kernel = booted()
    made = Event("map", tid=2, kvm=VM, mmu=M1, canonical_ipa=C, nested_ipa=N + PAGE, size=PAGE)
    kernel.events += [
        record(2, N + PAGE, "overlapped", 1500, 1900),
        made,
        record(1, N, "stored", 1000, 2000),
    ]
    assert not judged(kernel.events).findings
