"""Map rows become plain data."""

from __future__ import annotations

from nvscope.probes import decode
from nvscope.probes.decode import Key, Row
from nvscope.probes.snapshot import SLOTS, Durations, NotifierUnmaps, S2Faults, ShadowUnmaps, VmKey

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
    rows = [(key(1, bits), row(bits, s0=1)) for bits in range(4)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    assert [(f.stage, f.result) for f in found.s2_faults] == [
        ("canonical", "ok"),
        ("shadow", "ok"),
        ("canonical", "error"),
        ("shadow", "error"),
    ]
    assert found.s2_faults[1] == S2Faults(VM, "shadow", "ok", durations(1, s0=1))


def test_unmap_labels_and_bytes() -> None:
    rows = [(key(2, bits), row(5, 4096, s1=1) + row(0, 8192)) for bits in range(4)]
    found = decode.snapshot(rows, {}, notifier_seen=True)
    assert [(u.scope, u.within) for u in found.shadow_unmaps] == [
        ("ranged", "other"),
        ("full", "other"),
        ("ranged", "notifier"),
        ("full", "notifier"),
    ]
    expected = ShadowUnmaps(VM, "ranged", "notifier", 4096 + 8192, durations(5, s1=1))
    assert found.shadow_unmaps[2] == expected


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
    assert len(set(keys)) == len(decode.LABELS) == 9
    found = decode.snapshot([(k, row(1, s1=1)) for k in keys], {}, notifier_seen=True)
    assert (len(found.notifier_unmaps), len(found.s2_faults), len(found.shadow_unmaps)) == (1, 4, 4)
