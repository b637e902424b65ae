"""What an unmap takes: mappings in its range, whole; and what of a notifier's had to go.

This is judging/over_unmap.py over again, in arrays: a million events a second leave no time to make
objects of them. tests/unit/analysis/compiled/test_compiled.py requires the same figures of both.
"""

from __future__ import annotations

from typing import Any

from nvscope.analysis.compiled.loop import entries
from nvscope.analysis.compiled.loop.jit import inlined, jit
from nvscope.analysis.compiled.loop.state import (
    BY_CANONICAL,
    BY_MADE,
    BY_NESTED,
    BY_SIZE,
    CANONICAL,
    END,
    HAS_ENTRIES,
    HEAD,
    IN_NOTIFIERS_UNMAP,
    MADE,
    MODE,
    MOST_WIDE,
    NEEDED,
    NEEDED_BYTES,
    NEEDED_UNMAPS,
    NEEDLESS_UNMAPS,
    NESTED,
    NONE,
    SHIFT,
    START,
    TASK,
    UNMAP_END,
    UNMAP_FULL,
    UNMAP_START,
    UNMAPPED,
    UNMAPPED_BYTES,
    WIDE,
    WIDE_AT,
    WIDE_FULL,
    WIDE_MMU,
    WIDE_NEEDED,
    WIDE_NEEDED_BYTES,
    WIDE_NESTED,
    WIDE_SIZE,
    WIDE_UNMAPPED,
    WIDE_UNMAPPED_BYTES,
    WIDE_VM,
    Array,
)


@jit
def take(
    slots: Array,
    mmus: Array,
    vms: Array,
    counts: Array,
    wide: Array,
    index: Any,
    vm: int,
    mmu: int,
    row: int,
) -> None:
    """The unmap of an MMU that is under way has ended, at that row."""
    is_full = vms[vm, UNMAP_FULL] != 0
    is_notifiers = vms[vm, TASK] == IN_NOTIFIERS_UNMAP
    if is_full and not is_notifiers:
        _free_all(slots, mmus, counts, index, mmu)
        return
    unmapped = unmapped_bytes = needed = needed_bytes = 0
    by_nested, by_canonical, by_size, by_made = NONE, NONE, NONE, NONE
    slot = _next(slots, mmus, vms, counts, index, vm, mmu, vms[vm, UNMAP_START])
    while slot != NONE:
        nested, canonical = slots[slot, NESTED], slots[slot, CANONICAL]
        size = 1 << slots[slot, SHIFT]
        if slots[slot, MADE] != NONE:
            unmapped += 1
            unmapped_bytes += size
            if canonical < vms[vm, END] and vms[vm, START] < canonical + size:
                needed += 1
                needed_bytes += size
                if by_made == NONE or nested < by_nested:
                    by_nested, by_canonical = nested, canonical
                    by_size, by_made = size, slots[slot, MADE]
        if is_full or counts[MODE] != HAS_ENTRIES:
            entries.free(slots, mmus, counts, index, slot)
        else:
            entries.unmap(slots, index, slot)
        slot = _next(slots, mmus, vms, counts, index, vm, mmu, nested + size)
    if not is_notifiers:
        return
    counts[UNMAPPED] += unmapped
    counts[UNMAPPED_BYTES] += unmapped_bytes
    counts[NEEDED] += needed
    counts[NEEDED_BYTES] += needed_bytes
    counts[NEEDED_UNMAPS if needed else NEEDLESS_UNMAPS] += 1
    if (needed == 0 or needed_bytes < unmapped_bytes) and counts[WIDE] < MOST_WIDE:
        shown = wide[counts[WIDE]]
        shown[WIDE_AT], shown[WIDE_VM], shown[WIDE_MMU] = row, vm, mmu
        shown[WIDE_FULL], shown[WIDE_NESTED] = vms[vm, UNMAP_FULL], vms[vm, UNMAP_START]
        shown[WIDE_SIZE] = vms[vm, UNMAP_END] - vms[vm, UNMAP_START]
        shown[WIDE_UNMAPPED], shown[WIDE_UNMAPPED_BYTES] = unmapped, unmapped_bytes
        shown[WIDE_NEEDED], shown[WIDE_NEEDED_BYTES] = needed, needed_bytes
        shown[BY_NESTED], shown[BY_CANONICAL] = by_nested, by_canonical
        shown[BY_SIZE], shown[BY_MADE] = by_size, by_made
        counts[WIDE] += 1


@inlined
def _next(
    slots: Array,
    mmus: Array,
    vms: Array,
    counts: Array,
    index: Any,
    vm: int,
    mmu: int,
    start: int,
) -> int:
    """The slot that the unmap takes next, from a nested IPA on; of a full one, any."""
    slot = NONE
    if vms[vm, UNMAP_FULL] != 0:
        slot = mmus[mmu, HEAD]
    elif start < vms[vm, UNMAP_END]:
        slot = entries.first(slots, mmus, counts, index, NESTED, mmu, start, vms[vm, UNMAP_END])
    return slot


@jit
def _free_all(slots: Array, mmus: Array, counts: Array, index: Any, mmu: int) -> None:
    """The entries go as well."""
    while mmus[mmu, HEAD] != NONE:
        entries.free(slots, mmus, counts, index, mmus[mmu, HEAD])
