"""What rows are told apart by: labels, and the keys of their index."""

from __future__ import annotations

from nvscope.probes.counts import decode
from nvscope.probes.counts.decode import Key
from nvscope.probes.counts.snapshot import VmKey

VM = VmKey(kvm=0xFFFF000012340000, pid=4711)


def test_labels_are_all_different() -> None:
    assert len(set(decode.LABELS)) == len(decode.LABELS) == 24


def test_keys_of_a_row_are_of_each_stripe_and_of_all_cpus() -> None:
    keys = [Key.from_buffer_copy(key) for key in decode.row_keys(VM, 0x30102)]
    assert {(key.kvm, key.pid) for key in keys} == {(VM.kvm, VM.pid)}
    assert [hex(key.labels) for key in keys] == [f"{hex(s << 24 | 0x30102)}" for s in range(5)]


def test_all_labels_are_below_what_vm_exit_deletes() -> None:
    assert all(label % (1 << decode.POINT_SHIFT) < decode.LABEL_BITS for label in decode.LABELS)
