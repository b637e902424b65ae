"""Runs through rows as long as they are regular."""

from __future__ import annotations

from typing import Any

from nvscope.analysis.compiled.loop import faults, unmaps
from nvscope.analysis.compiled.loop.dicts import find
from nvscope.analysis.compiled.loop.jit import jit
from nvscope.analysis.compiled.loop.rows import (
    MAP,
    NOTHING,
    NOTIFIER,
    NOTIFIER_BEGIN,
    NOTIFIER_END,
    OTHER,
    STORED,
    UNCHANGED,
    UNMAP_BEGIN,
    UNMAP_END,
    Rows,
)
from nvscope.analysis.compiled.loop.state import (
    HAS_ENTRIES,
    IN_NOTIFIERS_UNMAP,
    MODE,
    NONE,
    TASK,
    UNMAP_OF,
    VM,
    Array,
    State,
)


# All kinds of rows in one function, for a call hands over each array, which takes time; with a
# function for each kind, inlined, a row took a quarter more (bench/validate.py's trace).
# fmt: off
@jit
def advance(state: State, rows: Rows, begin: int) -> tuple[int, int]:
    """Go on at row number `begin` of these. Returns the first that is not regular, or how many

    there are, and the first after that whose VM is held. There has to be a free slot for each row.
    """
    slots, mmus, vms, calls, wide = state.slots, state.mmus, state.vms, state.calls, state.wide
    counts, index, tasks = state.counts, state.index, state.tasks
    vm_of, mmu_of = state.vm_of, state.mmu_of
    kinds, numbers, kvms = rows.kind, rows.at, rows.kvm
    end, at, last, vm = len(kinds), begin, 0, NONE
    while at < end:
        kind = kinds[at]
        if kind == NOTHING:
            at += 1
            continue
        if vm == NONE or kvms[at] != last:
            last = kvms[at]
            vm = find(vm_of, last, NONE)
        if vm == NONE or kind == OTHER:
            break
        row, tid = numbers[at], rows.tid[at]
        nested, canonical, size = rows.nested[at], rows.canonical[at], rows.size[at]
        mmu = find(mmu_of, rows.mmu[at], NONE)
        if kind == NOTIFIER_BEGIN:
            if not unmaps.notifier_begins(vms, counts, tasks, vm, row, tid, canonical, size):
                break
        elif kind == NOTIFIER_END:
            if not unmaps.notifier_ends(
                slots, mmus, vms, counts, index, tasks, vm, row, tid, canonical, size
            ):
                break
        elif mmu == NONE or mmus[mmu, VM] != vm:
            break
        elif kind == UNMAP_BEGIN:
            if not unmaps.unmap_begins(
                slots, mmus, vms, counts, index, tasks, vm, mmu, row, tid, nested, size,
                rows.full[at] != 0, rows.detail[at] == NOTIFIER,
            ):
                break
        elif kind == UNMAP_END:
            if not unmaps.unmap_ends(
                slots, mmus, vms, counts, wide, index, tasks, vm, mmu, row, tid, nested, size,
                rows.full[at] != 0,
            ):
                break
        elif vms[vm, TASK] >= IN_NOTIFIERS_UNMAP and vms[vm, UNMAP_OF] == mmu:
            break
        elif kind == MAP and counts[MODE] != HAS_ENTRIES:
            if not faults.maps_alone(slots, mmus, counts, index, mmu, row, nested, canonical, size):
                break
        elif kind == MAP:
            if not faults.maps(slots, mmus, counts, index, mmu, row, nested, canonical, size):
                break
        else:
            is_new = rows.detail[at] == STORED
            if not (is_new or rows.detail[at] == UNCHANGED):
                break
            if not faults.records(slots, mmus, counts, index, mmu, nested, canonical, size, is_new):
                break
            faults.remember(calls, mmus, mmu, rows, at, is_new)
        at += 1
    return at, _next_held(vm_of, kvms, at + 1)
# fmt: on


@jit
def _next_held(vm_of: Any, kvms: Array, at: int) -> int:
    """The first row from there on whose VM is held, or how many there are."""
    while at < len(kvms) and kvms[at] not in vm_of:
        at += 1
    return min(at, len(kvms))
