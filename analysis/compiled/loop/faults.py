"""Faults on a shadow MMU: records, and mappings. What is regular is done, and True."""

from __future__ import annotations

from typing import Any

from nvscope.analysis.compiled.loop import entries
from nvscope.analysis.compiled.loop.jit import inlined, jit
from nvscope.analysis.compiled.loop.rows import Rows
from nvscope.analysis.compiled.loop.state import (
    ADDRESS_BITS,
    CALL_AT,
    CALL_CANONICAL,
    CALL_DURATION,
    CALL_IS_NEW,
    CALL_NESTED,
    CALL_SIZE,
    CALL_TID,
    CALL_TIME,
    CALLS,
    CANONICAL,
    CONFORMANCE,
    LARGEST_SHIFT,
    LAST_MADE,
    MADE,
    NESTED,
    NONE,
    REMEMBERED,
    SHIFT,
    SMALLEST_SHIFT,
    TOUCHED,
    USED,
    Array,
)


@inlined
def shift_of(nested: int, canonical: int, size: int) -> int:
    """log2 of the size, of what fits into a slot; else NONE."""
    for shift in range(SMALLEST_SHIFT, LARGEST_SHIFT + 1):
        if size == 1 << shift:
            is_aligned = (nested | canonical) & (size - 1) == 0
            is_near = (nested | canonical) >> ADDRESS_BITS == 0  # nor negative
            return shift if is_aligned and is_near else NONE
    return NONE


@jit
def records(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    nested: int,
    canonical: int,
    size: int,
    is_new: bool,
) -> bool:
    """A record that stored a new entry, or left things unchanged."""
    shift = shift_of(nested, canonical, size)
    if shift == NONE:
        return False
    found = entries.first(slots, mmus, counts, index, CANONICAL, mmu, canonical, canonical + size)
    if is_new:
        if found != NONE:
            return False
        entries.new(slots, mmus, counts, index, mmu, canonical, nested, shift)
    elif found == NONE or not _is(slots, found, nested, canonical, shift):
        return False
    counts[CONFORMANCE] += 1
    mmus[mmu, TOUCHED] = 1
    return True


@jit
def maps(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    row: int,
    nested: int,
    canonical: int,
    size: int,
) -> bool:
    """A mapping of what is recorded."""
    shift = shift_of(nested, canonical, size)
    if shift == NONE:
        return False
    slot = entries.at_canonical(index, mmu, canonical)
    if slot == NONE or not _is(slots, slot, nested, canonical, shift):
        return False
    if slots[slot, MADE] == NONE:
        there = entries.first(slots, mmus, counts, index, NESTED, mmu, nested, nested + size)
        if there != NONE:
            if slots[there, NESTED] != nested or slots[there, SHIFT] != shift:
                return False
            entries.unmap(slots, index, there)
        entries.map_anew(slots, index, slot, row)
    mmus[mmu, LAST_MADE] = row
    mmus[mmu, TOUCHED] = 1
    return True


@jit
def maps_alone(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    row: int,
    nested: int,
    canonical: int,
    size: int,
) -> bool:
    """A mapping, where there are no entries. What it overlaps goes, whole."""
    shift = shift_of(nested, canonical, size)
    if shift == NONE:
        return False
    slot = entries.at_canonical(index, mmu, canonical)
    if slot == NONE or not _is(slots, slot, nested, canonical, shift):
        if not _gives_way(slots, mmus, counts, index, mmu, nested, canonical, size):
            return False
        there = entries.first(slots, mmus, counts, index, NESTED, mmu, nested, nested + size)
        while there != NONE:
            entries.free(slots, mmus, counts, index, there)
            there = entries.first(slots, mmus, counts, index, NESTED, mmu, nested, nested + size)
        slot = entries.new(slots, mmus, counts, index, mmu, canonical, nested, shift)
        entries.map_anew(slots, index, slot, row)
    mmus[mmu, LAST_MADE] = row
    mmus[mmu, TOUCHED] = mmus[mmu, USED] = 1
    return True


@jit
def _gives_way(
    slots: Array,
    mmus: Array,
    counts: Array,
    index: Any,
    mmu: int,
    nested: int,
    canonical: int,
    size: int,
) -> bool:
    """Whether all that leads to the canonical range is mapped in the nested one.

    Then nothing is mapped twice.
    """
    start, end = canonical, canonical + size
    while start < end:
        slot = entries.first(slots, mmus, counts, index, CANONICAL, mmu, start, end)
        if slot == NONE:
            return True
        its, its_size = slots[slot, NESTED], 1 << slots[slot, SHIFT]
        if its >= nested + size or nested >= its + its_size:
            return False
        start = entries.past(slots, slot)
    return True


@inlined
def remember(calls: Array, mmus: Array, mmu: int, rows: Rows, at: int, is_new: bool) -> None:
    """Keep a record, for those that overlap it in time."""
    place = mmus[mmu, CALLS] % REMEMBERED
    calls[mmu, place, CALL_AT] = rows.at[at]
    calls[mmu, place, CALL_TIME] = rows.time_ns[at]
    calls[mmu, place, CALL_TID] = rows.tid[at]
    calls[mmu, place, CALL_CANONICAL] = rows.canonical[at]
    calls[mmu, place, CALL_NESTED] = rows.nested[at]
    calls[mmu, place, CALL_SIZE] = rows.size[at]
    calls[mmu, place, CALL_DURATION] = rows.duration_ns[at]
    calls[mmu, place, CALL_IS_NEW] = 1 if is_new else 0
    mmus[mmu, CALLS] += 1


@inlined
def _is(slots: Array, slot: int, nested: int, canonical: int, shift: int) -> bool:
    return bool(
        slots[slot, CANONICAL] == canonical
        and slots[slot, NESTED] == nested
        and slots[slot, SHIFT] == shift
    )
