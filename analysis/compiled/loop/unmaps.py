"""Shadow unmaps, and notifier unmaps. Each tells whether it is regular, and is done then."""

from __future__ import annotations

from typing import Any

from nvscope.analysis.compiled.loop import entries, taken
from nvscope.analysis.compiled.loop.jit import inlined, jit
from nvscope.analysis.compiled.loop.state import (
    ACTED,
    ADDRESS_BITS,
    BARRIER,
    BEGAN,
    CANONICAL,
    END,
    ENDS,
    FALLBACK,
    FIRST_MMU,
    FULL,
    FULL_UNMAPS,
    HAS_ENTRIES,
    IDLE,
    IN_NOTIFIER,
    IN_NOTIFIERS_UNMAP,
    IN_UNMAP,
    MADE,
    MODE,
    NESTED,
    NEXT,
    NEXT_MMU,
    NONE,
    NOTIFIERS,
    OF,
    PRECISION,
    RANGED,
    RANGED_UNMAPS,
    SAFETY,
    SHIFT,
    SINCE,
    START,
    TAKES_ALL,
    TASK,
    TID,
    UNMAP_BEGAN,
    UNMAP_END,
    UNMAP_FULL,
    UNMAP_OF,
    UNMAP_SLOT,
    UNMAP_START,
    USED,
    Array,
)


@inlined
def _is_near(start: int, size: int) -> bool:
    """Whether a range is where addresses are; numbers of 64 bits may be negative here."""
    return start >> ADDRESS_BITS == 0 and 0 < size <= 1 << ADDRESS_BITS


@jit
def notifier_begins(
    vms: Array, counts: Array, tasks: Any, vm: int, row: int, tid: int, canonical: int, size: int
) -> bool:
    """A notifier unmap, the only call that its task and its VM are in."""
    if vms[vm, TASK] != IDLE or tid in tasks or not _is_near(canonical, size):
        return False
    vms[vm, TASK], vms[vm, TID], vms[vm, BEGAN] = IN_NOTIFIER, tid, row
    vms[vm, START], vms[vm, END] = canonical, canonical + size
    vms[vm, BARRIER] = row
    tasks[tid] = vm
    counts[NOTIFIERS] += 1
    return True


@jit
def notifier_ends(
    slots: Array,
    mmus: Array,
    vms: Array,
    counts: Array,
    index: Any,
    tasks: Any,
    vm: int,
    row: int,
    tid: int,
    canonical: int,
    size: int,
) -> bool:
    """Its end; no entry is left that it had not dealt with, and nothing is mapped."""
    if vms[vm, TASK] != IN_NOTIFIER or vms[vm, TID] != tid:
        return False
    start, end = vms[vm, START], vms[vm, END]
    if start != canonical or end != canonical + size:
        return False
    judged, mmu = 0, vms[vm, FIRST_MMU]
    while mmu != NONE:
        has_acted = mmus[mmu, OF] == vms[vm, BEGAN]
        has_taken_all = has_acted and mmus[mmu, FULL] != 0
        if counts[MODE] == TAKES_ALL and mmus[mmu, USED] != 0 and not has_taken_all:
            return False
        dealt_with = mmus[mmu, NEXT] if has_acted else start
        if not _is_dealt_with(slots, mmus, counts, index, mmu, start, end, dealt_with):
            return False
        judged += 1
        mmu = mmus[mmu, NEXT_MMU]
    counts[SAFETY] += judged
    vms[vm, ENDS] += 1
    vms[vm, TASK], vms[vm, BARRIER] = IDLE, row
    del tasks[tid]
    return True


@jit
def _is_dealt_with(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    start: int,
    end: int,
    dealt_with: int,
) -> bool:
    """Whether the notifier may end, as far as an MMU is concerned."""
    while start < end:
        slot = entries.first(slots, mmus, counts, index, CANONICAL, mmu, start, end)
        if slot == NONE:
            return True
        past = entries.past(slots, slot)
        if slots[slot, MADE] != NONE or past > dealt_with:
            return False
        start = past
    return True


@jit
def unmap_begins(
    slots: Array,
    mmus: Array,
    vms: Array,
    counts: Array,
    index: Any,
    tasks: Any,
    vm: int,
    mmu: int,
    row: int,
    tid: int,
    nested: int,
    size: int,
    is_full: bool,
    says_notifier: bool,
) -> bool:
    """A shadow unmap: the notifier's of the next entry in its range, or somebody else's."""
    slot = NONE
    if not _is_near(nested, size):
        return False
    if vms[vm, TASK] == IN_NOTIFIER and vms[vm, TID] == tid:
        if counts[MODE] == HAS_ENTRIES:
            if not is_full:
                slot = _next_entry(slots, mmus, vms, counts, index, vm, mmu)
            if slot == NONE or slots[slot, NESTED] != nested or 1 << slots[slot, SHIFT] != size:
                return False
            mmus[mmu, RANGED] = 1
            counts[PRECISION] += 1
        elif counts[MODE] == TAKES_ALL:
            if not is_full:
                return False
            counts[FALLBACK] += 1
        _comes_to(mmus, vms, vm, mmu)
        mmus[mmu, ACTED] = row
        if is_full:
            mmus[mmu, FULL] = 1
        counts[FULL_UNMAPS if is_full else RANGED_UNMAPS] += 1
        vms[vm, TASK] = IN_NOTIFIERS_UNMAP
    elif vms[vm, TASK] != IDLE or tid in tasks or says_notifier:
        return False
    else:
        vms[vm, TASK], vms[vm, TID] = IN_UNMAP, tid
        tasks[tid] = vm
    vms[vm, UNMAP_OF], vms[vm, UNMAP_BEGAN] = mmu, row
    vms[vm, UNMAP_FULL] = 1 if is_full else 0
    vms[vm, UNMAP_START], vms[vm, UNMAP_END], vms[vm, UNMAP_SLOT] = nested, nested + size, slot
    vms[vm, BARRIER] = row
    return True


@jit
def unmap_ends(
    slots: Array,
    mmus: Array,
    vms: Array,
    counts: Array,
    wide: Array,
    index: Any,
    tasks: Any,
    vm: int,
    mmu: int,
    row: int,
    tid: int,
    nested: int,
    size: int,
    is_full: bool,
) -> bool:
    """Its end: what was mapped there is gone, and the entry that the notifier unmapped."""
    if vms[vm, TASK] < IN_NOTIFIERS_UNMAP or vms[vm, TID] != tid or vms[vm, UNMAP_OF] != mmu:
        return False
    if vms[vm, UNMAP_START] != nested or vms[vm, UNMAP_END] != nested + size:
        return False
    if (vms[vm, UNMAP_FULL] != 0) != is_full:
        return False
    taken.take(slots, mmus, vms, counts, wide, index, vm, mmu, row)
    vms[vm, BARRIER] = row
    is_notifiers = vms[vm, TASK] == IN_NOTIFIERS_UNMAP
    if is_full:
        # What a notifier that is not done yet did before counts as well.
        mmus[mmu, SINCE] = vms[vm, BEGAN] if is_notifiers else vms[vm, UNMAP_BEGAN]
    if not is_notifiers:
        vms[vm, TASK] = IDLE
        del tasks[tid]
        return True
    slot = vms[vm, UNMAP_SLOT]
    if slot != NONE:
        mmus[mmu, NEXT] = entries.past(slots, slot)
        entries.free(slots, mmus, counts, index, slot)
    vms[vm, TASK] = IN_NOTIFIER
    return True


@inlined
def _comes_to(mmus: Array, vms: Array, vm: int, mmu: int) -> None:
    """The notifier does something to an MMU, the first time or again."""
    if mmus[mmu, OF] != vms[vm, BEGAN]:
        mmus[mmu, OF], mmus[mmu, NEXT] = vms[vm, BEGAN], vms[vm, START]
        mmus[mmu, ACTED], mmus[mmu, FULL] = NONE, 0


@jit
def _next_entry(
    slots: Array, mmus: Array, vms: Array, counts: Array, index: Any, vm: int, mmu: int
) -> int:
    """The slot of the entry that the notifier comes across next of an MMU; NONE."""
    _comes_to(mmus, vms, vm, mmu)
    start, end = mmus[mmu, NEXT], vms[vm, END]
    if start >= end:
        return NONE
    return entries.first(slots, mmus, counts, index, CANONICAL, mmu, start, end)
