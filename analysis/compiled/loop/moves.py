"""An MMU's state, moved in and out as a whole."""

from __future__ import annotations

import numpy as np

from nvscope.analysis.compiled.loop import entries
from nvscope.analysis.compiled.loop.jit import jit
from nvscope.analysis.compiled.loop.state import (
    CANONICAL,
    COUNT,
    HEAD,
    MADE,
    NESTED,
    NONE,
    SHIFT,
    Array,
    State,
)


@jit
def put(state: State, mmu: int, moved: Array) -> None:
    """Add entries, (n, 4): canonical IPA, nested IPA, log2 of the size, the row that mapped it."""
    slots, index = state.slots, state.index
    for entry in moved:
        slot = entries.new(
            slots, state.mmus, state.counts, index, mmu, entry[0], entry[1], entry[2]
        )
        if entry[3] != NONE:
            entries.map_anew(slots, index, slot, entry[3])


@jit
def take(state: State, mmu: int) -> Array:
    """The same back; then the MMU has none."""
    slots, mmus = state.slots, state.mmus
    moved = np.empty((mmus[mmu, COUNT], 4), np.int64)
    for number in range(len(moved)):
        slot = mmus[mmu, HEAD]
        moved[number, 0], moved[number, 1] = slots[slot, CANONICAL], slots[slot, NESTED]
        moved[number, 2], moved[number, 3] = slots[slot, SHIFT], slots[slot, MADE]
        entries.free(slots, mmus, state.counts, state.index, slot)
    return moved
