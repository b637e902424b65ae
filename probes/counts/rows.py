"""Rows and states of shadow MMUs, as they lie in their arrays, to plain data."""

from __future__ import annotations

import functools
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nvscope.probes.counts.decode import (
    FAULT_ERROR,
    FAULT_REFAULT,
    FAULT_SHADOW,
    LABEL_BITS,
    OUTCOMES,
    POINT_SHIFT,
    POINTS,
    REASON_SHIFT,
    REASONS,
    ROW_BYTES,
    TRIGGER_SHIFT,
    TRIGGERS,
    UNMAP_FULL,
    WITHIN,
    WITHIN_SHIFT,
    NvRow,
)
from nvscope.probes.counts.snapshot import (
    SLOTS,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    Room,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

_POINT_MASK = (1 << TRIGGER_SHIFT - POINT_SHIFT) - 1
_BITS_MASK = LABEL_BITS - 1
# Of nv_row.who.
_PID_BITS = 32
_PID_MASK = (1 << _PID_BITS) - 1
# As decode.Mmu, but a tenth of the time.
_MMU = struct.Struct("=QQII40x")
_WORD = struct.Struct("=Q")
# What of a row is to be added up: sum_ns and slots.
_COUNTS = struct.Struct(f"={1 + SLOTS}Q")
_TO_ADD = struct.Struct(
    f"{NvRow.sum_ns.offset}x{_COUNTS.size}s{ROW_BYTES - NvRow.sum_ns.offset - _COUNTS.size}x"
)


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one key; places: the number of each."""

    vm: VmKey
    labels: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Whose rows they are. numbers: of each row, its group's, or len(groups): nobody's."""

    groups: Sequence[Group]
    numbers: Sequence[int]


def snapshot(
    rows: bytes,
    lost: Mapping[str, int],
    notifier_seen: bool,
    mmus: bytes = b"",
    capacity: Mapping[str, int] | None = None,
) -> Snapshot:
    """Rows and states of shadow MMUs, one after another, as plain data.

    notifier_seen: notifier_unmap is attached; without it nobody knows what a shadow unmap ran
    within, and `within` is "unknown". capacity: of the arrays, for Snapshot.room.
    """
    notifier, faults, unmaps, records = [], [], [], []
    grouping, sizes = _grouping(rows), _column(rows, NvRow.size_bytes.offset).tolist()
    for group, total in zip(grouping.groups, _totals(rows, grouping), strict=False):
        vm, labels, durations = group.vm, group.labels, _durations(total)
        bits, trigger = labels & _BITS_MASK, TRIGGERS[labels >> TRIGGER_SHIFT]
        point = POINTS[labels >> POINT_SHIFT & _POINT_MASK]
        if point == "notifier_unmap":
            notifier.append(NotifierUnmaps(vm, durations, trigger))
        elif point == "s2_fault":
            faults.append(_fault(vm, bits, durations))
        elif point == "shadow_unmap":
            unmap = _unmap(vm, bits, _size_bytes(sizes, group, durations.count), durations, trigger)
            unmaps.append(unmap if notifier_seen else replace(unmap, within="unknown"))
        else:
            records.append(RevmapRecords(vm, OUTCOMES[bits], durations))
    states = list(_states(mmus))
    used = {"rows": sum(len(group.places) for group in grouping.groups), "mmus": len(states)}
    return Snapshot(
        tuple(notifier),
        tuple(faults),
        tuple(unmaps),
        tuple(records),
        dict(Counter(vm for _, vm, broken in states if broken)),
        dict(lost),
        {name: Room(used[name], most) for name, most in (capacity or {}).items()},
    )


def labels_of(vm: VmKey, rows: bytes) -> set[int]:
    """The labels of a VM's rows among these."""
    return {group.labels for group in _grouping(rows).groups if group.vm == vm}


def mmu_keys(vm: VmKey, mmus: bytes) -> Iterator[bytes]:
    """The keys in their index of a VM's shadow MMUs among these."""
    for name, owner, _ in _states(mmus):
        if owner == vm:
            yield name.to_bytes(8, sys.byteorder)


def _fault(vm: VmKey, bits: int, durations: Durations) -> S2Faults:
    stage = "shadow" if bits & FAULT_SHADOW else "canonical"
    result = "error" if bits & FAULT_ERROR else "ok"
    return S2Faults(vm, stage, result, durations, bool(bits & FAULT_REFAULT))


def _unmap(
    vm: VmKey, bits: int, size_bytes: int, durations: Durations, trigger: str
) -> ShadowUnmaps:
    scope = "full" if bits & UNMAP_FULL else "ranged"
    within = WITHIN[bits >> WITHIN_SHIFT & (len(WITHIN) - 1)]
    reason = REASONS[bits >> REASON_SHIFT]
    return ShadowUnmaps(vm, scope, within, size_bytes, durations, reason, trigger)


def _states(mmus: bytes) -> Iterator[tuple[int, VmKey, int]]:
    """(id, VM, whether its reverse map is broken) of those that are somebody's."""
    for name, kvm, pid, broken in _MMU.iter_unpack(mmus):
        if name and kvm and pid:
            yield name, VmKey(kvm, pid), broken


def _column(rows: bytes, offset: int) -> memoryview:
    """Of u64, one of each row; offset: in a row."""
    if not rows:
        return memoryview(b"")  # which cannot be cast
    return memoryview(rows).cast("Q")[offset // 8 :: ROW_BYTES // 8]


def _grouping(rows: bytes) -> Grouping:
    owners = (_column(rows, field.offset).tobytes() for field in (NvRow.kvm, NvRow.who))
    return _grouped(*owners)


@functools.lru_cache(maxsize=1)
def _grouped(kvms: bytes, whos: bytes) -> Grouping:
    """Rows seldom change hands: as a rule those of the last reading are grouped as they were."""
    places = defaultdict[tuple[int, int], list[int]](list)
    columns = [[word for (word,) in _WORD.iter_unpack(words)] for words in (kvms, whos)]
    owners = list(zip(*columns, strict=True))
    for place, owner in enumerate(owners):
        places[owner].append(place)
    # The others are nobody's, or about to be somebody's.
    named = [(kvm, who) for kvm, who in places if kvm and who & _PID_MASK]
    vms = {(kvm, who & _PID_MASK): VmKey(kvm, who & _PID_MASK) for kvm, who in named}
    groups = [
        Group(vms[kvm, who & _PID_MASK], who >> _PID_BITS, tuple(places[kvm, who]))
        for kvm, who in named
    ]
    numbers = {owner: number for number, owner in enumerate(named)}
    return Grouping(groups, [numbers.get(owner, len(groups)) for owner in owners])


def _totals(rows: bytes, grouping: Grouping) -> list[int]:
    """Of each group sum_ns and slots, all as one large number, and at the end nobody's.

    That is several times as fast as word by word. No sum of counts, or of nanoseconds, exceeds 64
    bits.
    """
    totals = [0] * (len(grouping.groups) + 1)
    number, order = int.from_bytes, sys.byteorder
    for group, (counts,) in zip(grouping.numbers, _TO_ADD.iter_unpack(rows), strict=True):
        totals[group] += number(counts, order)
    return totals


def _durations(total: int) -> Durations:
    """The count is the slots' sum: the two can never disagree."""
    sum_ns, *slots = _COUNTS.unpack(total.to_bytes(_COUNTS.size, sys.byteorder))
    return Durations(sum(slots), sum_ns, tuple(slots))


def _size_bytes(sizes: Sequence[int], group: Group, count: int) -> int:
    """What so many unmaps asked for; sizes: of all rows. A full one's rows hold the size of one,
    or, for a moment, none yet: all shadow MMUs of a VM have the same.
    """
    ours = [sizes[place] for place in group.places]
    return max(ours) * count if group.labels & UNMAP_FULL else sum(ours)
