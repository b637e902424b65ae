"""VMs past the bound, added up: whatever comes and goes, the sums never go down."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.exporter.vms import overflow
from nvscope.exporter.vms.overflow import Overflow
from nvscope.probes.counts.snapshot import NotifierUnmaps, ShadowUnmaps, Snapshot, VmKey
from tests.unit.exporter.fakes import LOST, busy, durations

A, B, C = VmKey(1, 10), VmKey(2, 20), VmKey(3, 30)
NOBODY: frozenset[VmKey] = frozenset()


def unmaps(**counts: int) -> Snapshot:
    keys = {"a": A, "b": B, "c": C}
    rows = (NotifierUnmaps(keys[vm], durations({12: n}, 10 * n)) for vm, n in counts.items())
    return Snapshot(tuple(rows))


def sums(snapshot: Snapshot) -> dict[VmKey, tuple[int, int]]:
    return {r.vm: (r.durations.slots[12], r.durations.sum_ns) for r in snapshot.notifier_unmaps}


def test_all_that_is_counted_is_added_up() -> None:
    folded = Overflow().fold(busy(A, B, C), {A, C}, NOBODY)
    for row in busy(A).shadow_unmaps:
        (both,) = (
            other
            for other in folded.shadow_unmaps
            if other.vm == overflow.KEY
            and (other.scope, other.within, other.reason) == (row.scope, row.within, row.reason)
        )
        assert both.size_bytes == 2 * row.size_bytes
        assert both.durations.slots == tuple(2 * n for n in row.durations.slots)
    for rows, of_one in (
        (folded.notifier_unmaps, 1),
        (folded.s2_faults, 3),
        (folded.shadow_unmaps, 5),
        (folded.revmap_records, 1),
    ):
        assert [row.vm for row in rows] == [B] * of_one + [overflow.KEY] * of_one  # type: ignore[attr-defined]
    assert folded.broken == {overflow.KEY: 1}
    assert folded.lost == LOST


def test_nothing_is_there_before_the_first() -> None:
    overflow_ = Overflow()
    assert overflow_.fold(busy(A), NOBODY, NOBODY) == replace(
        busy(A), broken={A: 1, overflow.KEY: 0}
    )
    assert not overflow_.used
    overflow_.fold(busy(A), {A}, NOBODY)
    overflow_.fold(Snapshot(), NOBODY, NOBODY)
    assert overflow_.used


def test_what_a_vm_did_stays_when_its_rows_go() -> None:
    overflow_ = Overflow()
    overflow_.fold(unmaps(a=5, b=7), {A, B}, NOBODY)
    assert sums(overflow_.fold(unmaps(b=8), {B}, NOBODY)) == {overflow.KEY: (13, 130)}
    assert sums(overflow_.fold(unmaps(), NOBODY, NOBODY)) == {overflow.KEY: (13, 130)}
    # A later one with the same struct kvm and thread.
    assert sums(overflow_.fold(unmaps(a=2), {A}, NOBODY)) == {overflow.KEY: (15, 150)}
    overflow_.fold(unmaps(), NOBODY, NOBODY)
    assert sums(overflow_.fold(unmaps(a=6), {A}, NOBODY)) == {overflow.KEY: (21, 210)}


def test_rows_of_the_ended_are_counted_once() -> None:
    overflow_ = Overflow()
    overflow_.fold(unmaps(a=5, b=7), {A, B}, NOBODY)
    for _ in range(3):
        assert sums(overflow_.fold(unmaps(a=6, b=7), {B}, {A})) == {overflow.KEY: (13, 130)}
    # One that had series of its own, and has ended, is not theirs.
    assert sums(overflow_.fold(unmaps(a=6, b=7, c=1), {B}, {A, C}))[overflow.KEY] == (13, 130)


def test_counts_that_began_anew() -> None:
    overflow_ = Overflow()
    overflow_.fold(unmaps(a=5), {A}, NOBODY)
    assert sums(overflow_.fold(unmaps(a=3), {A}, NOBODY)) == {overflow.KEY: (8, 80)}


def test_rows_that_are_alike() -> None:
    # As where nothing tells what a shadow unmap ran within.
    overflow_ = Overflow()
    for n in (1, 2, 4):
        rows = [ShadowUnmaps(A, "full", "unknown", 10 * n, durations({3: n}))] * 2
        (folded,) = overflow_.fold(Snapshot((), (), tuple(rows)), {A}, NOBODY).shadow_unmaps
        assert folded.durations.slots[3] == 2 * n
        assert folded.size_bytes == 20 * n


def test_bytes_that_began_anew() -> None:
    overflow_ = Overflow()
    for size_bytes, n, total in ((4096, 5, 4096), (8192, 6, 8192), (1024, 1, 9216)):
        row = ShadowUnmaps(A, "full", "tlbi", size_bytes, durations({3: n}))
        (folded,) = overflow_.fold(Snapshot((), (), (row,)), {A}, NOBODY).shadow_unmaps
        assert folded.size_bytes == total


def test_a_vm_that_gets_series_of_its_own_later_is_another() -> None:
    overflow_ = Overflow()
    overflow_.fold(unmaps(a=5), {A}, NOBODY)
    assert sums(overflow_.fold(unmaps(a=2), NOBODY, NOBODY)) == {A: (2, 20), overflow.KEY: (5, 50)}


_looks = st.lists(
    st.fixed_dictionaries({vm: st.none() | st.integers(0, 9) for vm in "abc"}), max_size=12
)


@given(_looks, st.lists(st.sets(st.sampled_from([A, B, C])), min_size=12, max_size=12))
def test_sums_never_go_down(looks: list[dict[str, int | None]], members: list[set[VmKey]]) -> None:
    overflow_, before = Overflow(), (0, 0)
    for counts, alive in zip(looks, members, strict=False):
        snapshot = unmaps(**{vm: n for vm, n in counts.items() if n is not None})
        read = {row.vm for row in snapshot.notifier_unmaps}
        now = sums(overflow_.fold(snapshot, alive & read, read - alive)).get(overflow.KEY, (0, 0))
        assert now >= before
        assert now[1] == 10 * now[0]
        before = now


@pytest.mark.parametrize("ended", [0, 1])
def test_a_broken_map_is_of_a_vm_that_runs(ended: int) -> None:
    overflow_ = Overflow()
    overflow_.fold(busy(A), {A}, NOBODY)
    folded = overflow_.fold(busy(A), set() if ended else {A}, {A} if ended else NOBODY)
    assert folded.broken == {overflow.KEY: 0 if ended else 1}
