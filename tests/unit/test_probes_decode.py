"""Map rows become plain data."""

from __future__ import annotations

from nvscope.probes import decode
from nvscope.probes.decode import Key, Mmu, Row
from nvscope.probes.snapshot import (
    SLOTS,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    S2Faults,
    ShadowUnmaps,
    VmKey,
)

RECORD = decode.POINTS.index("revmap_record")
VM = VmKey(kvm=0xFFFF000012340000, pid=4711)


def key(point: int, bits: int = 0) -> bytes:
    return bytes(Key(VM.kvm, VM.pid, point << decode.POINT_SHIFT | bits))


def row(sum_ns: int, size_bytes: int = 0, **slots: int) -> bytes:
    """slots: s3=7 puts 7 into slot 3"""
    values = Row(sum_ns, size_bytes)
    for name, count in slots.items():
        values.slots[int(name[1:])] = count
    return bytes(values)


def durations(sum_ns: int, **slots: int) -> Durations:
    counts = tuple(slots.get(f"s{i}", 0) for i in range(SLOTS))
    return Durations(sum(counts), sum_ns, counts)


def test_no_rows() -> None:
    found = decode.snapshot([], {"vm_full": 3}, notifier_seen=True)
    assert (found.notifier_unmaps, found.s2_faults, found.shadow_unmaps) == ((), (), ())
    assert found.lost == {"vm_full": 3}


def test_cpus_are_added_up() -> None:
    values = row(100, s3=2, s39=1) + row(0) + row(11, s3=1)
    found = decode.snapshot([(key(0), values)], {}, notifier_seen=True)
    assert found.notifier_unmaps == (NotifierUnmaps(VM, durations(111, s3=3, s39=1)),)


def test_fault_labels() -> None:
    rows = [(key(1, bits), row(bits, s0=1)) for bits in (0, 1, 2, 3, 5)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    assert [(f.stage, f.result, f.refault) for f in found.s2_faults] == [
        ("canonical", "ok", False),
        ("shadow", "ok", False),
        ("canonical", "error", False),
        ("shadow", "error", False),
        ("shadow", "ok", True),
    ]
    assert found.s2_faults[1] == S2Faults(VM, "shadow", "ok", durations(1, s0=1))


def test_unmap_labels_and_bytes() -> None:
    rows = [(key(2, bits), row(5, 4096, s1=1) + row(0, 8192)) for bits in range(8)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    assert [(u.scope, u.within) for u in found.shadow_unmaps] == [
        (scope, within)
        for within in ("other", "notifier", "tlbi", "recycling")
        for scope in ("ranged", "full")
    ]
    expected = ShadowUnmaps(VM, "ranged", "notifier", 4096 + 8192, durations(5, s1=1))
    assert found.shadow_unmaps[2] == expected


def test_reasons_of_a_fallback() -> None:
    rows = [(key(2, 0b011 | reason << 3), row(5, s1=1)) for reason in range(5)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    assert {(u.scope, u.within) for u in found.shadow_unmaps} == {("full", "notifier")}
    reasons = ["none", "broken", "unknown_ipa", "raced", "unknown"]
    assert [u.reason for u in found.shadow_unmaps] == reasons


def test_records_by_outcome() -> None:
    rows = [(key(RECORD, outcome), row(0, s0=7) + row(0, s0=1)) for outcome in range(6)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    outcomes = ("unknown", "stored", "unchanged", "overlapped", "failed", "skipped")
    assert found.revmap_records == tuple(
        RevmapRecords(VM, name, durations(0, s0=8)) for name in outcomes
    )


def test_broken_mmus_of_each_vm() -> None:
    other = VmKey(kvm=5, pid=6)
    mmus = [
        (number.to_bytes(8, "little"), bytes(Mmu(vm.kvm, vm.pid, broken)))
        for number, (vm, broken) in enumerate([(VM, 1), (VM, 0), (VM, 1), (other, 0)])
    ]
    assert decode.snapshot([], {}, notifier_seen=True, mmus=mmus).broken == {VM: 2}
    assert list(decode.mmus_of(other, mmus)) == [mmus[3][0]]


def test_bytes_of_full_unmaps_exceed_64_bits() -> None:
    # Each CPU has the size of one; one CPU has seen none.
    values = row(0, 1 << 52, s1=9000) + row(0, 1 << 52, s2=1) + row(0)
    found = decode.snapshot([(key(2, 1), values)], {}, notifier_seen=True)
    assert found.shadow_unmaps[0].size_bytes == 9001 << 52


def test_without_the_notifier_nobody_knows_what_it_was_within() -> None:
    found = decode.snapshot([(key(2, 1), row(5, s1=1))], {}, notifier_seen=False)
    assert found.shadow_unmaps[0].within == "unknown"


def test_keys_of_a_vm_are_all_that_decode() -> None:
    keys = list(decode.keys_of(VM))
    assert len(set(keys)) == len(decode.LABELS) == 24
    found = decode.snapshot([(k, row(1, s1=1)) for k in keys], {}, notifier_seen=True)
    assert (len(found.notifier_unmaps), len(found.s2_faults)) == (1, 5)
    assert (len(found.shadow_unmaps), len(found.revmap_records)) == (12, 6)


def test_triggers_tell_rows_apart() -> None:
    rows = [(key(0, trigger << decode.TRIGGER_SHIFT), row(5, s1=1)) for trigger in range(8)]
    found = decode.snapshot(
        [*rows, (key(2, 3 << decode.TRIGGER_SHIFT | 1), row(5, s1=1))], {}, notifier_seen=True
    )
    names = ["", "vmm", "reclaim", "thp", "ksm", "compaction", "numa", "other"]
    assert [unmaps.trigger for unmaps in found.notifier_unmaps] == names
    assert [(u.scope, u.trigger) for u in found.shadow_unmaps] == [("full", "thp")]
    keys = set(decode.keys_of(VM, triggers=True))
    assert {raw for raw, _ in rows} <= keys
    assert len(keys) == len(names) * len(decode.LABELS)


def test_all_labels_are_below_what_vm_exit_deletes() -> None:
    assert all(label % (1 << decode.POINT_SHIFT) < decode.LABEL_BITS for label in decode.LABELS)
