"""Regular rows in compiled code, all others by the model: what comes out is the same.

A VM of which all is known is held by the compiled loop. Where that stops, the VM's state goes back
to the model, for as many rows as make up for the move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nvscope.analysis.compiled.loop import loop, rows, state
from nvscope.analysis.compiled.migration import Migration
from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.findings import MAX_WIDE
from nvscope.analysis.judging.rows import Columns, Row
from nvscope.analysis.judging.unmapping import Unmapped
from nvscope.analysis.model.variants import Variant

# Rows between two looks for VMs that can be held.
PIECE = 4096

_KINDS = {
    "mmu_recycle": rows.NOTHING,  # a reverse map follows its page tables, whosever they are
    "record": rows.RECORD,
    "map": rows.MAP,
    "notifier_begin": rows.NOTIFIER_BEGIN,
    "notifier_end": rows.NOTIFIER_END,
    "unmap_begin": rows.UNMAP_BEGIN,
    "unmap_end": rows.UNMAP_END,
}
_JUDGED = {
    "conformance": state.CONFORMANCE,
    "precision": state.PRECISION,
    "safety": state.SAFETY,
    "fallback": state.FALLBACK,
}
_FIGURES = {
    "notifiers": state.NOTIFIERS,
    "full_unmaps": state.FULL_UNMAPS,
    "ranged_unmaps": state.RANGED_UNMAPS,
    "needed_unmaps": state.NEEDED_UNMAPS,
    "needless_unmaps": state.NEEDLESS_UNMAPS,
    "unmapped": state.UNMAPPED,
    "unmapped_bytes": state.UNMAPPED_BYTES,
    "needed": state.NEEDED,
    "needed_bytes": state.NEEDED_BYTES,
}
_DETAILS = {"stored": rows.STORED, "unchanged": rows.UNCHANGED, "notifier": rows.NOTIFIER}


class Compiled:
    """Runs batches. run: what judges single rows."""

    def __init__(
        self, all_vms: AllVms, unmapped: Unmapped, run: Callable[[Iterable[Row]], None]
    ) -> None:
        self._all_vms = all_vms
        self._run = run
        mode = _mode(all_vms.variant)
        self._kinds = _KINDS | ({"record": rows.NOTHING} if mode == state.ANY else {})
        if mode == state.TAKES_ALL:
            self._kinds["record"] = rows.OTHER
        self._migration = Migration(all_vms, unmapped, mode)
        self._next_look = 0

    def feed(self, columns: Columns) -> None:
        """Go on with these rows; they have no loss among them."""
        coded, at = _coded(columns, self._kinds), 0
        while at < len(columns):
            self._look(int(columns.numbers[at]))
            stop, until = at, len(columns)
            if self._migration.holds_any:
                self._migration.prepare(len(columns) - at)
                stop, until = loop.advance(self._migration.state, coded, at)
                self._count()
            if stop < len(columns):
                row = int(columns.numbers[stop])
                if self._migration.release(int(columns.values["kvm"][stop]), row):
                    until = stop + 1
                until = min(until, stop + PIECE)
                self._migration.release_tasks(columns.values["tid"][stop:until], row)
                self._run(columns.rows(stop, until))
            at = until
        self._migration.count_doubts()

    def give_back(self, row: int) -> None:
        """The model has all again."""
        self._migration.release_all(row)

    def _look(self, row: int) -> None:
        if row >= self._next_look:
            self._migration.hold(row)
            self._next_look = row + PIECE

    def _count(self) -> None:
        counts = self._migration.state.counts
        result = self._all_vms.sink.result
        for name, column in _JUDGED.items():
            if counts[column]:
                result.judged[name] += int(counts[column])
        for name, column in _FIGURES.items():
            setattr(result, name, getattr(result, name) + int(counts[column]))
        if len(result.wide_unmaps) < MAX_WIDE:
            for unmap in self._migration.wide():
                result.take_wide(unmap)
        counts[: state.FREE] = 0


def _mode(variant: Variant) -> int:
    if not variant.modelled:
        return state.ANY
    return state.HAS_ENTRIES if variant.revmap else state.TAKES_ALL


def _coded(columns: Columns, kinds_of: Mapping[str, int]) -> rows.Rows:
    def numbers(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        values = columns.values[name]
        # Of 64 bits without a sign: large ones become negative, which no address is.
        return values.view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64)

    kinds = columns.kinds.mapped(kinds_of, rows.OTHER)
    kinds[(kinds == rows.MAP) & (columns.values["result"] != 0)] = rows.NOTHING  # it was not made
    return rows.Rows(
        at=np.asarray(columns.numbers, np.int64),
        kind=kinds,
        detail=columns.details.mapped(_DETAILS, rows.ANOTHER),
        **{name: numbers(name) for name in ("time_ns", "tid", "kvm", "mmu", "size")},
        **{name: numbers(name) for name in ("full", "duration_ns")},
        canonical=numbers("canonical_ipa"),
        nested=numbers("nested_ipa"),
    )
