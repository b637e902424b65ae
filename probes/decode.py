"""Rows of the BPF maps, as bytes, to a Snapshot. The C side: bpf/nvscope.h."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from nvscope.probes.snapshot import (
    SLOTS,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

# enum nv_point, in order.
POINTS = (
    "notifier_unmap",
    "s2_fault",
    "shadow_unmap",
    "tlbi_vmid",
    "tlbi_all",
    "mmu_recycle",
    "mmu_free",
    "vm_exit",
    "revmap_record",
    "revmap_broken",
    "revmap_fallback",
    "mmu_init",
    "shadow_map",
    "numa_scan",
    "s2_map",
    "s2_relax",
    "s2_walk",
)
POINT_SHIFT, LABEL_BITS, TRIGGER_SHIFT = 8, 64, 16
FAULT_SHADOW, FAULT_ERROR, FAULT_REFAULT = 1, 2, 4
UNMAP_FULL, WITHIN_SHIFT, REASON_SHIFT = 1, 1, 3

# enum nv_within, nv_reason, nv_outcome, in order.
WITHIN = ("other", "notifier", "tlbi", "recycling")
REASONS = ("none", "broken", "unknown_ipa", "raced", "unknown")
OUTCOMES = ("unknown", "stored", "unchanged", "overlapped", "failed", "skipped")

# enum nv_trigger, in order: who caused a call. "": that was not asked; "vmm": the VM's own process;
# kernel threads: reclaim (kswapd), thp (khugepaged), ksm (ksmd), compaction (kcompactd); numa: NUMA
# balancing; other: another process (direct reclaim, for instance) or another kernel thread.
TRIGGERS = ("", "vmm", "reclaim", "thp", "ksm", "compaction", "numa", "other")

# enum nv_loss, in order: the causes of Snapshot.lost that the programs count.
LOSSES = (
    "start_full",
    "vm_full",
    "missed_exit",
    "missed_entry",
    "mmu_full",
    "ring_full",
    "no_canonical",
)
# Of these, two are counted by point, at 2 * point + edge.
EDGES = ("entry", "exit")
MISSED = tuple(f"missed_{edge}" for edge in EDGES)
STACK_DEPTH = 48

# Counted by the kernel, per program, where it skipped one that was running already.
RECURSION = "recursion"


def _labels(point: str, bits: Iterable[int]) -> tuple[int, ...]:
    return tuple(POINTS.index(point) << POINT_SHIFT | each for each in bits)


_RANGED = [within << WITHIN_SHIFT for within in range(len(WITHIN))]
_FULL_IN_NOTIFIER = UNMAP_FULL | WITHIN.index("notifier") << WITHIN_SHIFT

# All values of nv_key.labels: a VM has at most so many rows.
LABELS = (
    *_labels("notifier_unmap", [0]),
    *_labels("s2_fault", range(4)),
    *_labels("s2_fault", [FAULT_SHADOW | FAULT_REFAULT]),
    *_labels("shadow_unmap", _RANGED),
    *_labels("shadow_unmap", (UNMAP_FULL | bits for bits in _RANGED)),
    *_labels(
        "shadow_unmap",
        (_FULL_IN_NOTIFIER | reason << REASON_SHIFT for reason in range(1, len(REASONS))),
    ),
    *_labels("revmap_record", range(len(OUTCOMES))),
)


_POINT_MASK = (1 << TRIGGER_SHIFT - POINT_SHIFT) - 1


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


class Mmu(ctypes.Structure):
    """struct nv_mmu."""

    _fields_ = (
        ("kvm", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("broken", ctypes.c_uint32),
        ("mapped", ctypes.c_int64),
        ("owed", ctypes.c_int64),
    )


class Event(ctypes.Structure):
    """struct nv_event."""

    _fields_ = (
        ("time_ns", ctypes.c_uint64),
        ("kvm", ctypes.c_uint64),
        ("mmu", ctypes.c_uint64),
        ("canonical_ipa", ctypes.c_uint64),
        ("nested_ipa", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("duration_ns", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("cpu", ctypes.c_uint32),
        ("kind", ctypes.c_uint8),
        ("detail", ctypes.c_uint8),
        ("full", ctypes.c_uint8),
        ("may_block", ctypes.c_uint8),
        ("comm", ctypes.c_char * 16),
        ("count", ctypes.c_uint32),
    )


class SlowCall(ctypes.Structure):
    """struct nv_slow."""

    _fields_ = (
        ("event", Event),
        ("trigger", ctypes.c_uint32),
        ("stack_bytes", ctypes.c_int32),
        ("stack", ctypes.c_uint64 * STACK_DEPTH),
    )


# Of a key and of one CPU's value, in bytes.
SIZES = (ctypes.sizeof(Key), ctypes.sizeof(Row))
_ROW_WORDS = SIZES[1] // 8  # sum_ns, size_bytes, then the slots
# Of the map of shadow MMUs: an address, and a value.
MMU_SIZES = (8, ctypes.sizeof(Mmu))


def keys_of(vm: VmKey, triggers: bool = False) -> Iterator[bytes]:
    """All keys that rows of a VM can have; triggers: they are told apart by who caused them."""
    for trigger in range(len(TRIGGERS) if triggers else 1):
        for labels in LABELS:
            yield bytes(Key(vm.kvm, vm.pid, trigger << TRIGGER_SHIFT | labels))


def mmus_of(vm: VmKey, mmus: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The keys of a VM's shadow MMUs among all of them."""
    for key, value in mmus:
        if _vm(Mmu.from_buffer_copy(value)) == vm:
            yield key


def snapshot(
    rows: Iterable[tuple[bytes, bytes]],
    lost: Mapping[str, int],
    notifier_seen: bool,
    mmus: Iterable[tuple[bytes, bytes]] = (),
) -> Snapshot:
    """Rows (key, values of all CPUs) and shadow MMUs (key, value) as plain data.

    notifier_seen: notifier_unmap is attached; without it nobody knows what a shadow unmap ran
    within, and `within` is "unknown".
    """
    notifier, faults, unmaps, records = [], [], [], []
    for raw_key, raw_values in rows:
        key = Key.from_buffer_copy(raw_key)
        vm, bits = _vm(key), key.labels & (LABEL_BITS - 1)
        sizes, durations = _sum(raw_values)
        trigger = TRIGGERS[key.labels >> TRIGGER_SHIFT]
        point = POINTS[key.labels >> POINT_SHIFT & _POINT_MASK]
        if point == "notifier_unmap":
            notifier.append(NotifierUnmaps(vm, durations, trigger))
        elif point == "s2_fault":
            faults.append(_fault(vm, bits, durations))
        elif point == "shadow_unmap":
            unmap = _unmap(vm, bits, durations, sizes, trigger)
            unmaps.append(unmap if notifier_seen else replace(unmap, within="unknown"))
        else:
            records.append(RevmapRecords(vm, OUTCOMES[bits], durations))
    return Snapshot(
        tuple(notifier), tuple(faults), tuple(unmaps), tuple(records), _broken(mmus), dict(lost)
    )


def missed(counts: Sequence[int], skipped: Mapping[str, int]) -> dict[str, int]:
    """Cause -> ends of calls that were missed for another reason than that the kernel skipped their
    program: those are in RECURSION, if the call's other end has noticed it or not.

    counts: of each point, as in MISSED; skipped: program -> how often.

    >>> counts = [0] * (2 * len(POINTS))
    >>> counts[POINTS.index("s2_fault") * 2 + 1] = 5
    >>> missed(counts, {"s2_fault_exit": 3, "s2_fault_entry": 9})
    {'missed_entry': 0, 'missed_exit': 2}
    """
    found = dict.fromkeys(MISSED, 0)
    for index, count in enumerate(counts):
        edge = index % len(EDGES)
        program = f"{POINTS[index // len(EDGES)]}_{EDGES[edge]}"
        found[MISSED[edge]] += max(0, count - skipped.get(program, 0))
    return found


def _vm(of: Key | Mmu) -> VmKey:
    return VmKey(of.kvm, of.pid)


def _fault(vm: VmKey, bits: int, durations: Durations) -> S2Faults:
    stage = "shadow" if bits & FAULT_SHADOW else "canonical"
    result = "error" if bits & FAULT_ERROR else "ok"
    return S2Faults(vm, stage, result, durations, bool(bits & FAULT_REFAULT))


def _unmap(
    vm: VmKey, bits: int, durations: Durations, sizes: Sequence[int], trigger: str
) -> ShadowUnmaps:
    """sizes: in bytes, of each CPU; a full unmap's row holds the size of one, for all shadow MMUs
    of a VM have the same.
    """
    full, reason = bool(bits & UNMAP_FULL), REASONS[bits >> REASON_SHIFT]
    within = WITHIN[bits >> WITHIN_SHIFT & (len(WITHIN) - 1)]
    size_bytes = max(sizes) * durations.count if full else sum(sizes)
    scope = "full" if full else "ranged"
    return ShadowUnmaps(vm, scope, within, size_bytes, durations, reason, trigger)


def _broken(mmus: Iterable[tuple[bytes, bytes]]) -> dict[VmKey, int]:
    states = (Mmu.from_buffer_copy(value) for _, value in mmus)
    return dict(Counter(_vm(state) for state in states if state.broken))


def _sum(raw_values: bytes) -> tuple[Sequence[int], Durations]:
    """size_bytes of each CPU's row, and the durations of all CPUs together.

    The count is the slots' sum: the two can never disagree. Plain words and not Row, whose fields
    take several times as long.
    """
    words = memoryview(raw_values).cast("Q").tolist()
    cpus = [words[at : at + _ROW_WORDS] for at in range(0, len(words), _ROW_WORDS)]
    sum_ns, _, *slots = map(sum, zip(*cpus, strict=True))
    return [cpu[1] for cpu in cpus], Durations(sum(slots), sum_ns, tuple(slots))
