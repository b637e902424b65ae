"""Map rows become plain data."""

from __future__ import annotations

import sys

import pytest

from nvscope.probes.counts import decode
from nvscope.probes.counts.decode import Mmu, NvRow
from nvscope.probes.counts.rows import labels_of, mmu_keys, snapshot
from nvscope.probes.counts.snapshot import (
    SLOTS,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    Room,
    S2Faults,
    ShadowUnmaps,
    VmKey,
)

RECORD = decode.POINTS.index("revmap_record")
VM = VmKey(kvm=0xFFFF000012340000, pid=4711)


def row(point: int, bits: int = 0, sum_ns: int = 0, size_bytes: int = 0, **slots: int) -> bytes:
    """slots: s3=7 puts 7 into slot 3"""
    return row_of(VM, point << decode.POINT_SHIFT | bits, sum_ns, size_bytes, **slots)


def row_of(vm: VmKey, labels: int, sum_ns: int = 0, size_bytes: int = 0, **slots: int) -> bytes:
    values = NvRow(vm.kvm, labels << 32 | vm.pid, size_bytes, sum_ns)
    for name, count in slots.items():
        values.slots[int(name[1:])] = count
    return bytes(values)


def durations(sum_ns: int, **slots: int) -> Durations:
    counts = tuple(slots.get(f"s{i}", 0) for i in range(SLOTS))
    return Durations(sum(counts), sum_ns, counts)


def test_no_rows() -> None:
    found = snapshot(b"", {"vm_full": 3}, notifier_seen=True)
    assert (found.notifier_unmaps, found.s2_faults, found.shadow_unmaps) == ((), (), ())
    assert found.lost == {"vm_full": 3}


def test_all_rows_of_a_key_are_added_up() -> None:
    """Wherever they lie: those of other keys are in between."""
    other = VmKey(VM.kvm, VM.pid + 1)
    rows = [
        row(0, sum_ns=100, s3=2, s39=1),
        row(1, sum_ns=7, s2=5),
        row_of(other, 0, 40, s4=1),
        row(0),
        bytes(NvRow()),
        row(0, sum_ns=11, s3=1),
    ]
    found = snapshot(b"".join(rows), {}, notifier_seen=True)
    assert found.notifier_unmaps == (
        NotifierUnmaps(VM, durations(111, s3=3, s39=1)),
        NotifierUnmaps(other, durations(40, s4=1)),
    )
    assert found.s2_faults == (S2Faults(VM, "canonical", "ok", durations(7, s2=5)),)


def test_sums_do_not_spill_into_their_neighbours() -> None:
    """Each slot for itself, up to what 64 bits can hold."""
    half = (1 << 63) - 1
    rows = row(0, sum_ns=half, s0=half, s20=half) * 2 + row(0, sum_ns=1, s0=1, s20=1, s21=5)
    (found,) = snapshot(rows, {}, notifier_seen=True).notifier_unmaps
    most = (1 << 64) - 1
    assert found.durations == durations(most, s0=most, s20=most, s21=5)


@pytest.mark.parametrize(
    "torn", [NvRow(kvm=VM.kvm), NvRow(who=VM.pid), NvRow(who=5 << 40), NvRow()]
)
def test_a_row_that_is_being_made_is_nobodys(torn: NvRow) -> None:
    torn.slots[3] = 9  # what another left, perhaps
    found = snapshot(row(0, s1=1) + bytes(torn), {}, notifier_seen=True, capacity={"rows": 4})
    assert [unmaps.durations.count for unmaps in found.notifier_unmaps] == [1]
    assert len(list(found.rows())) == 1
    assert found.room == {"rows": Room(1, 4)}
    assert labels_of(VmKey(0, VM.pid), bytes(torn)) == set()
    assert labels_of(VmKey(VM.kvm, 0), bytes(torn)) == set()


@pytest.mark.parametrize(
    "torn", [Mmu(id=3, kvm=VM.kvm), Mmu(kvm=VM.kvm, pid=VM.pid), Mmu(id=3, pid=VM.pid)]
)
def test_a_shadow_mmu_that_is_being_made_is_nobodys(torn: Mmu) -> None:
    torn.broken = 1
    found = snapshot(b"", {}, notifier_seen=True, mmus=bytes(torn), capacity={"mmus": 2})
    assert found.broken == {}
    assert found.room == {"mmus": Room(0, 2)}


def test_fault_labels() -> None:
    rows = b"".join(row(1, bits, bits, s0=1) for bits in (0, 1, 2, 3, 5))
    found = snapshot(rows, {}, notifier_seen=True)
    assert [(f.stage, f.result, f.refault) for f in found.s2_faults] == [
        ("canonical", "ok", False),
        ("shadow", "ok", False),
        ("canonical", "error", False),
        ("shadow", "error", False),
        ("shadow", "ok", True),
    ]
    assert found.s2_faults[1] == S2Faults(VM, "shadow", "ok", durations(1, s0=1))


def test_unmap_labels_and_bytes() -> None:
    rows = [row(2, bits, 5, 4096, s1=1) + row(2, bits, 0, 8192) for bits in range(8)]
    found = snapshot(b"".join(rows), {}, notifier_seen=True)
    assert [(u.scope, u.within) for u in found.shadow_unmaps] == [
        (scope, within)
        for within in ("other", "notifier", "tlbi", "recycling")
        for scope in ("ranged", "full")
    ]
    expected = ShadowUnmaps(VM, "ranged", "notifier", 4096 + 8192, durations(5, s1=1))
    assert found.shadow_unmaps[2] == expected


def test_reasons_of_a_fallback() -> None:
    rows = b"".join(row(2, 0b011 | reason << 3, 5, s1=1) for reason in range(5))
    found = snapshot(rows, {}, notifier_seen=True)
    assert {(u.scope, u.within) for u in found.shadow_unmaps} == {("full", "notifier")}
    reasons = ["none", "broken", "unknown_ipa", "raced", "unknown"]
    assert [u.reason for u in found.shadow_unmaps] == reasons


def test_records_by_outcome() -> None:
    rows = [row(RECORD, outcome, s0=7) + row(RECORD, outcome, s0=1) for outcome in range(6)]
    found = snapshot(b"".join(rows), {}, notifier_seen=True)
    outcomes = ("unknown", "stored", "unchanged", "overlapped", "failed", "skipped")
    assert found.revmap_records == tuple(
        RevmapRecords(VM, name, durations(0, s0=8)) for name in outcomes
    )


def test_broken_mmus_of_each_vm() -> None:
    other = VmKey(kvm=5, pid=6)
    states = [
        Mmu(),
        *(
            Mmu(number, vm.kvm, vm.pid, broken)
            for number, (vm, broken) in enumerate([(VM, 1), (VM, 0), (VM, 1), (other, 0)], 1)
        ),
    ]
    mmus = b"".join(map(bytes, states))
    found = snapshot(b"", {}, notifier_seen=True, mmus=mmus, capacity={"mmus": 9})
    assert found.broken == {VM: 2}
    assert found.room == {"mmus": Room(4, 9)}
    assert list(mmu_keys(other, mmus)) == [(4).to_bytes(8, sys.byteorder)]


def test_bytes_of_full_unmaps_exceed_64_bits() -> None:
    # Each row has the size of one; one of them is so new that it has none.
    rows = row(2, 1, 0, 1 << 52, s1=9000) + row(2, 1, 0, 1 << 52, s2=1) + row(2, 1, s1=1)
    found = snapshot(rows, {}, notifier_seen=True)
    assert found.shadow_unmaps[0].size_bytes == 9002 << 52


def test_without_the_notifier_nobody_knows_what_it_was_within() -> None:
    found = snapshot(row(2, 1, 5, s1=1), {}, notifier_seen=False)
    assert found.shadow_unmaps[0].within == "unknown"


def test_all_labels_of_a_vm_decode() -> None:
    rows = b"".join(row_of(VM, labels, 1, s1=1) for labels in decode.LABELS)
    found = snapshot(rows, {}, notifier_seen=True)
    assert (len(found.notifier_unmaps), len(found.s2_faults)) == (1, 5)
    assert (len(found.shadow_unmaps), len(found.revmap_records)) == (12, 6)
    assert labels_of(VM, rows) == set(decode.LABELS)


def test_triggers_tell_rows_apart() -> None:
    triggers = [trigger << decode.TRIGGER_SHIFT for trigger in range(8)]
    rows = [row(0, bits, 5, s1=1) for bits in triggers]
    found = snapshot(
        b"".join([*rows, row(2, 3 << decode.TRIGGER_SHIFT | 1, 5, s1=1)]), {}, notifier_seen=True
    )
    names = ["", "vmm", "reclaim", "thp", "ksm", "compaction", "numa", "other"]
    assert [unmaps.trigger for unmaps in found.notifier_unmaps] == names
    assert [(u.scope, u.trigger) for u in found.shadow_unmaps] == [("full", "thp")]
    assert labels_of(VM, b"".join(rows)) == set(triggers)


def test_rows_that_change_hands_between_readings() -> None:
    """How the last ones were grouped is kept; what is in them is not."""
    other = VmKey(VM.kvm, VM.pid + 1)
    readings = [
        row(0, s1=1) + row(1, s2=2),
        row(0, s1=5) + row(1, s2=7),
        row_of(other, 0, s1=6) + row(1, s2=8),
        row(1, s1=6) + row(1, s2=9),
        row(0, s1=1) + row(1, s2=2) + row(0, s1=1),
    ]
    found = [snapshot(each, {}, notifier_seen=True) for each in readings]
    assert [[(u.vm, u.durations.count) for u in each.notifier_unmaps] for each in found] == [
        [(VM, 1)],
        [(VM, 5)],
        [(other, 6)],
        [],
        [(VM, 2)],
    ]
    faults = [[each.durations.count for each in one.s2_faults] for one in found]
    assert faults == [[2], [7], [8], [15], [2]]
