"""Rows of the BPF maps, as bytes, to a Snapshot. The C side: bpf/nvscope.h."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping

from nvscope.probes.snapshot import (
    SLOTS,
    Durations,
    NotifierUnmaps,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

# enum nv_point, in order.
POINTS = ("notifier_unmap", "s2_fault", "shadow_unmap")
POINT_SHIFT = 8
FAULT_SHADOW, FAULT_ERROR = 1, 2
UNMAP_FULL, UNMAP_NOTIFIER = 1, 2

# enum nv_loss, in order: the causes of Snapshot.lost that the programs count.
LOSSES = ("start_full", "vm_full", "missed_exit", "missed_entry")
# Counted by the kernel, per program, where it skipped one that was running already.
RECURSION = "recursion"

# All values of nv_key.labels: a VM has at most so many rows.
LABELS = (
    0 << POINT_SHIFT,
    *((1 << POINT_SHIFT) | bits for bits in range(4)),
    *((2 << POINT_SHIFT) | bits for bits in range(4)),
)


class Key(ctypes.Structure):
    """struct nv_key."""

    _fields_ = (("kvm", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("labels", ctypes.c_uint32))


class Row(ctypes.Structure):
    """struct nv_row."""

    _fields_ = (
        ("sum_ns", ctypes.c_uint64),
        ("size_bytes", ctypes.c_uint64),
        ("slots", ctypes.c_uint64 * SLOTS),
    )


# Of a key and of one CPU's value, in bytes.
SIZES = (ctypes.sizeof(Key), ctypes.sizeof(Row))


def keys_of(vm: VmKey) -> Iterator[bytes]:
    """All keys that rows of a VM can have."""
    for labels in LABELS:
        yield bytes(Key(vm.kvm, vm.pid, labels))


def snapshot(
    rows: Iterable[tuple[bytes, bytes]], lost: Mapping[str, int], notifier_seen: bool
) -> Snapshot:
    """Rows (key, values of all CPUs) as plain data.

    notifier_seen: notifier_unmap is attached; without it nobody knows what a shadow unmap ran
    within, and `within` is "unknown".
    """
    notifier, faults, unmaps = [], [], []
    for raw_key, raw_values in rows:
        key = Key.from_buffer_copy(raw_key)
        vm = VmKey(key.kvm, key.pid)
        cpus = (Row * (len(raw_values) // SIZES[1])).from_buffer_copy(raw_values)
        durations = _sum(cpus)
        point, bits = POINTS[key.labels >> POINT_SHIFT], key.labels
        if point == "notifier_unmap":
            notifier.append(NotifierUnmaps(vm, durations))
        elif point == "s2_fault":
            stage = "shadow" if bits & FAULT_SHADOW else "canonical"
            faults.append(S2Faults(vm, stage, "error" if bits & FAULT_ERROR else "ok", durations))
        else:
            scope = "full" if bits & UNMAP_FULL else "ranged"
            within = "notifier" if bits & UNMAP_NOTIFIER else "other"
            within = within if notifier_seen else "unknown"
            size_bytes = _size_bytes(cpus, scope, durations.count)
            unmaps.append(ShadowUnmaps(vm, scope, within, size_bytes, durations))
    return Snapshot(tuple(notifier), tuple(faults), tuple(unmaps), dict(lost))


def _sum(cpus: Iterable[Row]) -> Durations:
    """One row of all CPUs together. The count is the slots' sum: the two can never disagree."""
    slots = tuple(map(sum, zip(*(row.slots for row in cpus), strict=True)))
    return Durations(sum(slots), sum(row.sum_ns for row in cpus), slots)


def _size_bytes(cpus: Iterable[Row], scope: str, count: int) -> int:
    """A full unmap's row holds the size of one: all shadow MMUs of a VM have the same."""
    sizes = [row.size_bytes for row in cpus]
    return max(sizes) * count if scope == "full" else sum(sizes)
