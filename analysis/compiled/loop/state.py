"""The arrays that the loop works on. All are of int64; what an array's columns are is said here.

They say what model/mappings.py and model/ranges.py say, in another form, because compiled code is
slow with anything but numbers; compiled/migration.py moves VMs between both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nvscope.analysis.compiled.loop.dicts import new_names

Array = np.ndarray[Any, np.dtype[np.int64]]

NONE = -1

# slots. MADE: the row that mapped it; NONE: it is recorded, but not mapped. SHIFT: log2 of its
# size. BEFORE, AFTER: of the same MMU; free slots are chained by AFTER.
CANONICAL, NESTED, SHIFT, MADE, MMU, BEFORE, AFTER = range(7)
_SLOT_COLUMNS = 7

# mmus. HEAD: of its slots, of which there are COUNT. NEXT_MMU: of its VM. LAST_MADE: the last row
# that mapped something. SINCE: where it was last empty. NEXT, ACTED: what the notifier that began
# at row OF has done, see notifiers.Progress. RANGED: a notifier unmapped a range of it. TOUCHED:
# something was recorded or mapped. CALLS: how many of `calls` there were. FULL: that notifier has
# unmapped all of it. USED: something was mapped since it was made.
VM, HEAD, COUNT, NEXT_MMU, LAST_MADE, SINCE, OF, NEXT, ACTED, RANGED, TOUCHED, CALLS = range(12)
FULL, USED = range(12, 14)
_MMU_COLUMNS = 14

# vms. TASK: in which calls its one task is, of those below. START, END: the notifier's range.
# UNMAP_SLOT: whose ranged unmap it is, or NONE. ENDS: how many notifiers ended. BARRIER: see
# vm_state.Vm.
TASK, TID, BEGAN, START, END, ENDS, BARRIER, FIRST_MMU = range(8)
UNMAP_OF, UNMAP_BEGAN, UNMAP_START, UNMAP_END, UNMAP_FULL, UNMAP_SLOT = range(8, 14)
_VM_COLUMNS = 14
IDLE, IN_NOTIFIER, IN_NOTIFIERS_UNMAP, IN_UNMAP = range(4)

# calls: the last records of each MMU, a ring. IS_NEW: it was stored; else it was unchanged.
CALL_AT, CALL_TIME, CALL_TID, CALL_CANONICAL, CALL_NESTED, CALL_SIZE = range(6)
CALL_DURATION, CALL_IS_NEW = range(6, 8)
_CALL_COLUMNS = 8
REMEMBERED = 40  # records.Records

# counts: since they were last taken; and then of what there is: FREE is the first free slot, of
# FREES. SHIFTS different sizes are in use, log2 of which follow from FIRST_SHIFT on.
CONFORMANCE, PRECISION, SAFETY, NOTIFIERS, UNMAPPED, UNMAPPED_BYTES, NEEDED = range(7)
NEEDED_BYTES, FULL_UNMAPS, RANGED_UNMAPS, NEEDED_UNMAPS, NEEDLESS_UNMAPS = range(7, 12)
FALLBACK, WIDE = range(12, 14)
FREE, FREES, MODE, SHIFTS, FIRST_SHIFT = range(14, 19)
# MODE: what is known of each kernel. HAS_ENTRIES: a reverse map; else a slot is a mapping alone.
# TAKES_ALL: notifiers unmap all of each MMU that was used; ANY: whatever they do will do.
HAS_ENTRIES, TAKES_ALL, ANY = range(3)

# wide: notifiers' unmaps that took more than had to go, of which there are counts[WIDE]; see
# findings.WideUnmap. BY_MADE: NONE, where it was needed by no mapping.
WIDE_AT, WIDE_VM, WIDE_MMU, WIDE_FULL, WIDE_NESTED, WIDE_SIZE = range(6)
WIDE_UNMAPPED, WIDE_UNMAPPED_BYTES, WIDE_NEEDED, WIDE_NEEDED_BYTES = range(6, 10)
BY_NESTED, BY_CANONICAL, BY_SIZE, BY_MADE = range(10, 14)
_WIDE_COLUMNS = 14
MOST_WIDE = 20  # findings.MAX_WIDE

SMALLEST_SHIFT, LARGEST_SHIFT = 12, 30
ADDRESS_BITS = 56  # as many as Arm has
MMU_BITS = 17  # of an MMU's row, beside what else is in a key of the index
REGION_SHIFT = 21
# Of another VM than those held.
ELSEWHERE = -2


class State(NamedTuple):
    """slots, mmus, vms, calls, counts, wide: as above.

    index: MMU and page -> slot, by canonical IPA, and those mapped by nested IPA; MMU and 2 MiB
    region -> how many slots smaller than that are there, likewise. vm_of, mmu_of: kernel pointer ->
    row of vms, mmus. tasks: thread -> row of vms, or ELSEWHERE, of those that are in a call.

    Compiled functions take of it what they use: each array costs time when it is handed over.
    """

    slots: Array
    mmus: Array
    vms: Array
    calls: Array
    counts: Array
    wide: Array
    index: Any
    vm_of: Any
    mmu_of: Any
    tasks: Any


def new_state(mode: int = HAS_ENTRIES) -> State:
    """Of no VM."""
    counts = np.zeros(FIRST_SHIFT + LARGEST_SHIFT + 1 - SMALLEST_SHIFT, np.int64)
    counts[FREE] = NONE
    counts[MODE] = mode
    return State(
        slots=np.zeros((0, _SLOT_COLUMNS), np.int64),
        mmus=np.zeros((0, _MMU_COLUMNS), np.int64),
        vms=np.zeros((0, _VM_COLUMNS), np.int64),
        calls=np.zeros((0, REMEMBERED, _CALL_COLUMNS), np.int64),
        counts=counts,
        wide=np.zeros((MOST_WIDE, _WIDE_COLUMNS), np.int64),
        **{name: new_names() for name in State._fields[6:]},
    )


def with_room(state: State, slots: int, mmus: int, vms: int) -> State:
    """With so many free slots at least, and rows for so many MMUs and VMs in all."""
    if state.counts[FREES] < slots:
        had = len(state.slots)
        state = state._replace(slots=_longer(state.slots, had + had // 2 + slots))
        added = np.arange(had, len(state.slots))
        state.slots[added, AFTER] = np.append(added[1:], state.counts[FREE])
        state.counts[FREE] = had
        state.counts[FREES] += len(added)
    if mmus > len(state.mmus):
        state = state._replace(
            mmus=_longer(state.mmus, 2 * mmus), calls=_longer(state.calls, 2 * mmus)
        )
    if vms > len(state.vms):
        state = state._replace(vms=_longer(state.vms, 2 * vms))
    return state


def _longer(array: Array, rows: int) -> Array:
    new = np.zeros((rows, *array.shape[1:]), np.int64)
    new[: len(array)] = array
    return new
