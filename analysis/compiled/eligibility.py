"""Whether the compiled loop can hold a VM: it knows no doubt, and nothing but the usual."""

from __future__ import annotations

import numpy as np

from nvscope.analysis.compiled.loop.state import (
    ADDRESS_BITS,
    LARGEST_SHIFT,
    NONE,
    SMALLEST_SHIFT,
    Array,
)
from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.vm_state import MmuState, Vm
from nvscope.analysis.model.rules import VALID_ENTRY, nested_ipa

_SHIFTS = {1 << shift: shift for shift in range(SMALLEST_SHIFT, LARGEST_SHIFT + 1)}


def entries_of(all_vms: AllVms, vm: Vm) -> list[Array] | None:
    """Of each of its MMUs, what moves.put takes; None: it has to stay with the model."""
    if not all(_is_known(all_vms, mmu) for mmu in vm.mmus.values()):
        return None
    moved = []
    for mmu in vm.mmus.values():
        entries = _entries(mmu)
        if entries is None:
            return None
        moved.append(entries)
    return moved


def mappings_of(all_vms: AllVms, vm: Vm) -> list[Array] | None:
    """The same where there are no entries: the mappings, none of which leads where another does."""
    if not all(_is_known(all_vms, mmu) for mmu in vm.mmus.values()):
        return None
    moved = []
    for mmu in vm.mmus.values():
        mappings = _mappings(mmu)
        if mappings is None:
            return None
        moved.append(mappings)
    return moved


def _mappings(mmu: MmuState) -> Array | None:
    """(n, 4), by canonical IPA."""
    mappings = sorted(mmu.shadow.mappings, key=lambda mapping: mapping.canonical)
    moved, end = np.empty((len(mappings), 4), np.int64), 0
    for number, (nested, canonical, size, made, certain) in enumerate(mappings):
        shift = _shift(canonical, nested, size)
        if shift is None or not certain or canonical < end:
            return None
        moved[number] = canonical, nested, shift, made
        end = canonical + size
    return moved


def _shift(canonical: int, nested: int, size: int) -> int | None:
    """log2 of the size, of what fits into a slot."""
    shift = _SHIFTS.get(size)
    if shift is None or (canonical | nested) >> ADDRESS_BITS or (canonical | nested) & (size - 1):
        return None
    return shift


def _is_known(all_vms: AllVms, mmu: MmuState) -> bool:
    shadow = mmu.shadow
    return not (shadow.doubt or shadow.broken or shadow.unmaps or all_vms.has_deferred(mmu))


def _entries(mmu: MmuState) -> Array | None:
    """(n, 4); each mapping has to be of just one entry."""
    entries, made = mmu.shadow.entries, {}
    for mapping in mmu.shadow.mappings:
        nested, canonical, size, row, certain = mapping
        if not certain or entries.at(canonical) != (
            canonical,
            canonical + size,
            nested | VALID_ENTRY,
        ):
            return None
        made[canonical] = row
    moved = np.empty((len(entries), 4), np.int64)
    for number, entry in enumerate(entries):
        start, nested = entry.start, nested_ipa(entry)  # UNKNOWN_IPA is further than all
        shift = _shift(start, nested, entry.end - start)
        if shift is None:
            return None
        moved[number] = start, nested, shift, made.get(start, NONE)
    return moved
