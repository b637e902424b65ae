"""What the BPF maps and the ring buffer hold: names and structs. The C side: bpf/nvscope.h."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nvscope.probes.counts.pools import POOLS as _POOLS
from nvscope.probes.counts.pools import RANGES
from nvscope.probes.counts.snapshot import SLOTS, VmKey

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


class Key(ctypes.Structure):
    """struct nv_key."""

    _fields_ = (("kvm", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("labels", ctypes.c_uint32))


class NvRow(ctypes.Structure):
    """struct nv_row: of one key there may be several."""

    _fields_ = (
        ("kvm", ctypes.c_uint64),
        ("who", ctypes.c_uint64),
        ("size_bytes", ctypes.c_uint64),
        ("sum_ns", ctypes.c_uint64),
        ("slots", ctypes.c_uint64 * SLOTS),
        ("unused", ctypes.c_uint64 * 4),
    )


class Mmu(ctypes.Structure):
    """struct nv_mmu."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("kvm", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("broken", ctypes.c_uint32),
        ("mapped", ctypes.c_int64),
        ("owed", ctypes.c_int64),
        ("unused", ctypes.c_uint64 * 3),
    )


class Heads(ctypes.Structure):
    """struct nv_heads."""

    _fields_ = (
        ("ends", ctypes.c_uint32 * (len(_POOLS) * RANGES)),
        ("freed", ctypes.c_uint64),
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


# In bytes.
ROW_BYTES, MMU_BYTES, HEADS_BYTES = (ctypes.sizeof(each) for each in (NvRow, Mmu, Heads))
STRIPE_SHIFT, MAX_STRIPES = 24, 4


def stripes(cpus: int) -> int:
    """How many stripes there are of so many possible CPUs: a power of two.

    >>> [stripes(cpus) for cpus in (1, 2, 6, 8, 192)]
    [1, 2, 4, 4, 4]
    """
    return min(MAX_STRIPES, 1 << (cpus - 1).bit_length())


def row_keys(vm: VmKey, labels: int) -> Iterator[bytes]:
    """The keys in the rows' index that rows can have: of each stripe, and of all CPUs."""
    for stripe in range(MAX_STRIPES + 1):
        yield bytes(Key(vm.kvm, vm.pid, stripe << STRIPE_SHIFT | labels))


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
