"""Runs through rows as long as they are plain."""

from __future__ import annotations

from typing import Any

from nvscope.analysis.plain import entries, faults, unmaps
from nvscope.analysis.plain.jit import jit
from nvscope.analysis.plain.names import find
from nvscope.analysis.plain.rows import (
    MAP,
    NOTHING,
    NOTIFIER,
    NOTIFIER_BEGIN,
    NOTIFIER_END,
    OTHER,
    RECORD,
    STORED,
    UNCHANGED,
    UNMAP_BEGIN,
    Rows,
)
from nvscope.analysis.plain.state import (
    BARRIER,
    CANONICAL,
    IDLE,
    IN_NOTIFIER,
    IN_NOTIFIERS_UNMAP,
    IN_UNMAP,
    NEXT,
    NONE,
    SHIFT,
    SINCE,
    TASK,
    TID,
    UNMAP_BEGAN,
    UNMAP_OF,
    UNMAP_SLOT,
    VM,
    Array,
    State,
)


@jit
def advance(state: State, rows: Rows, begin: int) -> tuple[int, int]:
    """Go on at row number `begin` of these. Returns the first that is not plain, or how many

    there are, and the first after that whose VM is held. There has to be a free slot for each row.
    """
    slots, mmus, vms, calls = state.slots, state.mmus, state.vms, state.calls
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
        row, tid, size = numbers[at], rows.tid[at], rows.size[at]
        if kind == NOTIFIER_BEGIN:
            canonical = rows.canonical[at]
            if not unmaps.notifier_begins(vms, counts, tasks, vm, row, tid, canonical, size):
                break
            at += 1
            continue
        if kind == NOTIFIER_END:
            canonical = rows.canonical[at]
            if not unmaps.notifier_ends(slots, mmus, vms, counts, index, vm, tid, canonical, size):
                break
            vms[vm, TASK], vms[vm, BARRIER] = IDLE, row
            del tasks[tid]
            at += 1
            continue
        if kind == MAP and rows.result[at] != 0:
            at += 1
            continue
        mmu = find(mmu_of, rows.mmu[at], NONE)
        if mmu == NONE or mmus[mmu, VM] != vm:
            break
        nested = rows.nested[at]
        is_being_unmapped = vms[vm, TASK] >= IN_NOTIFIERS_UNMAP and vms[vm, UNMAP_OF] == mmu
        if kind == MAP:
            canonical = rows.canonical[at]
            if is_being_unmapped or not faults.maps(
                slots, mmus, counts, index, mmu, row, nested, canonical, size
            ):
                break
        elif kind == RECORD:
            canonical, is_new = rows.canonical[at], rows.detail[at] == STORED
            if is_being_unmapped or not (is_new or rows.detail[at] == UNCHANGED):
                break
            if not faults.records(slots, mmus, counts, index, mmu, nested, canonical, size, is_new):
                break
            faults.remember(calls, mmus, mmu, rows, at, is_new)
        elif not unmaps.is_near(nested, size):
            break
        elif kind == UNMAP_BEGIN:
            is_full, slot = rows.full[at] != 0, NONE
            if vms[vm, TASK] == IN_NOTIFIER and vms[vm, TID] == tid:
                if not is_full:
                    slot = unmaps.notifier_unmaps(
                        slots, mmus, vms, counts, index, vm, mmu, row, nested, size
                    )
                if slot == NONE:
                    break
                vms[vm, TASK] = IN_NOTIFIERS_UNMAP
            elif vms[vm, TASK] != IDLE or tid in tasks or rows.detail[at] == NOTIFIER:
                break
            else:
                vms[vm, TASK], vms[vm, TID] = IN_UNMAP, tid
                tasks[tid] = vm
            unmaps.begin(vms, vm, mmu, row, nested, size, is_full, slot)
        else:
            is_full = rows.full[at] != 0
            if not unmaps.is_under_way(vms, vm, mmu, tid, nested, size, is_full):
                break
            if is_full:
                unmaps.unmap_all(slots, mmus, counts, index, mmu)
                mmus[mmu, SINCE] = vms[vm, UNMAP_BEGAN]
            else:
                if vms[vm, TASK] == IN_NOTIFIERS_UNMAP:
                    unmaps.measure(slots, mmus, vms, counts, index, vm, mmu)
                unmaps.unmap_range(slots, mmus, counts, index, mmu, nested, nested + size)
            vms[vm, BARRIER] = row
            if vms[vm, TASK] == IN_UNMAP:
                vms[vm, TASK] = IDLE
                del tasks[tid]
            else:
                slot = vms[vm, UNMAP_SLOT]
                mmus[mmu, NEXT] = slots[slot, CANONICAL] + (1 << slots[slot, SHIFT])
                entries.free(slots, mmus, counts, index, slot)
                vms[vm, TASK] = IN_NOTIFIER
        at += 1
    return at, _next_held(vm_of, kvms, at + 1)


@jit
def _next_held(vm_of: Any, kvms: Array, at: int) -> int:
    """The first row from there on whose VM is held, or how many there are."""
    while at < len(kvms) and kvms[at] not in vm_of:
        at += 1
    return min(at, len(kvms))
