"""Slots: made, mapped, found by address, and freed."""

from __future__ import annotations

from typing import Any

from nvscope.analysis.compiled.loop.dicts import find
from nvscope.analysis.compiled.loop.jit import inlined, jit
from nvscope.analysis.compiled.loop.state import (
    ADDRESS_BITS,
    AFTER,
    BEFORE,
    CANONICAL,
    COUNT,
    FIRST_SHIFT,
    FREE,
    FREES,
    HEAD,
    MADE,
    MMU,
    NESTED,
    NONE,
    REGION_SHIFT,
    SHIFT,
    SHIFTS,
    SMALLEST_SHIFT,
    Array,
)

_PAGE_BITS = ADDRESS_BITS - SMALLEST_SHIFT
_PAGE = 1 << SMALLEST_SHIFT
_REGION = 1 << REGION_SHIFT
# Of a key of the index, beside the column (CANONICAL, NESTED): it is of a region.
_OF_REGION = 2


@jit
def first(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    column: int,
    mmu: int,
    start: int,
    end: int,
) -> int:
    """The first slot of the MMU that intersects the range; NONE.

    column: CANONICAL, or NESTED; of the latter only what is mapped.
    """
    for number in range(FIRST_SHIFT, FIRST_SHIFT + counts[SHIFTS]):
        shift = counts[number]
        slot = find(index, _key(mmu, column, start >> shift << shift), NONE)
        if slot != NONE and slots[slot, column] + (1 << slots[slot, SHIFT]) > start:
            return slot
    page = ((start >> SMALLEST_SHIFT) + 1) << SMALLEST_SHIFT
    if page >= end:
        return NONE
    if (end - page) >> REGION_SHIFT > mmus[mmu, COUNT]:
        return _least(slots, mmus, column, mmu, page, end)
    return _next(index, column, mmu, page, end)


@jit
def _next(index: Any, column: int, mmu: int, page: int, end: int) -> int:
    """The first that begins in the range, by a look at each page where there may be one."""
    while page < end:
        if find(index, _region_key(mmu, column, page), 0) != 0:
            step = page + _PAGE
        else:
            step = ((page >> REGION_SHIFT) + 1) << REGION_SHIFT
        if step == page + _PAGE or page % _REGION == 0:
            slot = find(index, _key(mmu, column, page), NONE)
            if slot != NONE:
                return slot
        page = step
    return NONE


@jit
def _least(slots: Array, mmus: Array, column: int, mmu: int, start: int, end: int) -> int:
    """The first that begins in the range, by a look at all."""
    least, slot = NONE, mmus[mmu, HEAD]
    while slot != NONE:
        address = slots[slot, column]
        if (
            start <= address < end
            and (column == CANONICAL or slots[slot, MADE] != NONE)
            and (least == NONE or address < slots[least, column])
        ):
            least = slot
        slot = slots[slot, AFTER]
    return least


@inlined
def past(slots: Array, slot: int) -> int:
    """Where its canonical range ends."""
    return int(slots[slot, CANONICAL] + (1 << slots[slot, SHIFT]))


@inlined
def at_canonical(index: Any, mmu: int, address: int) -> int:
    """The slot of the MMU that starts there; NONE."""
    return find(index, _key(mmu, CANONICAL, address), NONE)


@jit
def new(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    canonical: int,
    nested: int,
    shift: int,
) -> int:
    """Record what overlaps nothing that is recorded. There has to be room."""
    slot: int = counts[FREE]
    counts[FREE] = slots[slot, AFTER]
    counts[FREES] -= 1
    slots[slot, CANONICAL], slots[slot, NESTED], slots[slot, SHIFT] = canonical, nested, shift
    slots[slot, MADE], slots[slot, MMU] = NONE, mmu
    head = mmus[mmu, HEAD]
    slots[slot, BEFORE], slots[slot, AFTER] = NONE, head
    if head != NONE:
        slots[head, BEFORE] = slot
    mmus[mmu, HEAD] = slot
    mmus[mmu, COUNT] += 1
    _insert(index, mmu, CANONICAL, canonical, shift, slot)
    _use_shift(counts, shift)
    return slot


@jit
def free(slots: Array, mmus: Array, counts: Array, index: Any, slot: int) -> None:
    """Take it out of the reverse map, and the mapping with it."""
    unmap(slots, index, slot)
    mmu = slots[slot, MMU]
    before, after = slots[slot, BEFORE], slots[slot, AFTER]
    if before == NONE:
        mmus[mmu, HEAD] = after
    else:
        slots[before, AFTER] = after
    if after != NONE:
        slots[after, BEFORE] = before
    mmus[mmu, COUNT] -= 1
    _delete(index, mmu, CANONICAL, slots[slot, CANONICAL], slots[slot, SHIFT])
    slots[slot, AFTER] = counts[FREE]
    counts[FREE] = slot
    counts[FREES] += 1


@jit
def map_anew(slots: Array, index: Any, slot: int, row: int) -> None:
    """It is mapped since that row; nothing else is mapped at its nested IPA."""
    slots[slot, MADE] = row
    _insert(index, slots[slot, MMU], NESTED, slots[slot, NESTED], slots[slot, SHIFT], slot)


@jit
def unmap(slots: Array, index: Any, slot: int) -> None:
    """It is mapped no more, if it was."""
    if slots[slot, MADE] != NONE:
        _delete(index, slots[slot, MMU], NESTED, slots[slot, NESTED], slots[slot, SHIFT])
        slots[slot, MADE] = NONE


@inlined
def _key(mmu: int, column: int, address: int) -> int:
    return (mmu << 2 | column) << _PAGE_BITS | address >> SMALLEST_SHIFT


@inlined
def _region_key(mmu: int, column: int, address: int) -> int:
    return (mmu << 2 | column | _OF_REGION) << _PAGE_BITS | address >> REGION_SHIFT


@jit
def _insert(index: Any, mmu: int, column: int, address: int, shift: int, slot: int) -> None:
    index[_key(mmu, column, address)] = slot
    if shift < REGION_SHIFT:
        region = _region_key(mmu, column, address)
        index[region] = find(index, region, 0) + 1


@jit
def _delete(index: Any, mmu: int, column: int, address: int, shift: int) -> None:
    del index[_key(mmu, column, address)]
    if shift < REGION_SHIFT:
        region = _region_key(mmu, column, address)
        left = index[region] - 1
        if left == 0:
            del index[region]
        else:
            index[region] = left


@inlined
def _use_shift(counts: Array, shift: int) -> None:
    used = counts[SHIFTS]
    is_used = False
    for number in range(FIRST_SHIFT, FIRST_SHIFT + used):
        is_used = is_used or counts[number] == shift
    if not is_used:
        counts[FIRST_SHIFT + used] = shift
        counts[SHIFTS] = used + 1
