"""Which rows and columns of a trace are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nvscope.probes.errors import InputError, shown
from nvscope.probes.traces.events import COLUMNS, KINDS
from nvscope.probes.traces.tracefile import SCHEMA

# Wider than in files: those of many batches, with all of their words, are one column of a table.
WORDS = pa.dictionary(pa.int32(), pa.string())
_TOLD = 8  # names of VMs that an error tells


class Selection:
    """Takes what is asked for out of batches, and notes what is missing on the way.

    losses: why -> events. Raises InputError where no trace has such a column or kind.
    """

    def __init__(
        self,
        columns: Iterable[str] | None = None,
        kinds: str | Iterable[str] | None = None,
        vm: str | int | None = None,
    ) -> None:
        self.losses: Counter[str] = Counter()
        self._columns = _known("column", columns, COLUMNS)
        self._kinds = None if kinds is None else _known("kind", kinds, KINDS)
        self._vm = vm
        self._vms: dict[str, None] = {}  # those that were seen, in their order

    @property
    def schema(self) -> pa.Schema:
        """Of what taken() returns."""
        fields = [SCHEMA.field(name) for name in self._columns]
        return pa.schema([_wide_field(field) for field in fields])

    def taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Those rows and columns; of a VM with the rows of `loss`, for these concern every VM."""
        lost = _is_one_of(batch["kind"], ("loss",))
        self._note_losses(batch, lost)
        keep = np.ones(batch.num_rows, bool)
        if self._vm is not None:
            self._note_vms(batch)
            keep &= lost | self._is_of_vm(batch)
        if self._kinds is not None:
            keep &= _is_one_of(batch["kind"], self._kinds)
        columns = [_wide(batch[name]) for name in self._columns]
        chosen = pa.record_batch(columns, schema=self.schema)
        return chosen if keep.all() else chosen.filter(pa.array(keep))

    def finish(self, path: Path) -> None:
        """All batches of a trace were there. Raises InputError if the VM asked for was not."""
        if self._vm is None or _called(self._vm) in self._vms:
            return
        names = [name for name in self._vms if name]
        told = ", ".join(names[:_TOLD]) + (", …" if len(names) > _TOLD else "")
        there = f"there are {told}" if names else "no VM of it has a name: choose by kvm"
        raise InputError(f"{path}: there is no VM {_called(self._vm)}: {there}")

    def _note_losses(self, batch: pa.RecordBatch, lost: npt.NDArray[np.bool_]) -> None:
        if lost.any():
            where = pa.array(np.flatnonzero(lost))
            why = batch["detail"].take(where).to_pylist()
            counts = batch["count"].take(where).to_pylist()
            for each, count in zip(why, counts, strict=True):
                self.losses[each] += count

    def _note_vms(self, batch: pa.RecordBatch) -> None:
        column = "vm" if isinstance(self._vm, str) else "kvm"
        for each in pc.unique(batch[column]).to_pylist():
            self._vms[_called(each)] = None

    def _is_of_vm(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        if isinstance(self._vm, str):
            return _is_one_of(batch["vm"], (self._vm,))
        return np.asarray(batch["kvm"].to_numpy() == self._vm)


def _called(vm: str | int) -> str:
    return shown(vm) if isinstance(vm, str) else f"{vm:#x}"


def _known(what: str, asked: str | Iterable[str] | None, known: Collection[str]) -> tuple[str, ...]:
    if asked is None:
        return tuple(known)
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    if not names:
        raise InputError(f"no {what} is named: name one at least, or leave it out for all")
    for name in names:
        if name not in known:
            raise InputError(f"{name!r:.60} is no {what} of a trace: there are {', '.join(known)}")
    return names


def _is_one_of(column: pa.DictionaryArray, words: Collection[str]) -> npt.NDArray[np.bool_]:
    """(rows,)"""
    found = [word in words for word in column.dictionary.to_pylist()] or [False]
    table: npt.NDArray[Any] = np.array(found)
    return np.asarray(table[column.indices.to_numpy()])


def _wide_field(field: pa.Field) -> pa.Field:
    return field.with_type(WORDS) if pa.types.is_dictionary(field.type) else field


def _wide(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.DictionaryArray.from_arrays(column.indices.cast(WORDS.index_type), column.dictionary)
