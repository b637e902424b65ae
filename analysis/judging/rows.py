"""The rows of a batch as plain tuples; for the engine checked, and without faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nvscope.analysis.model.mappings import SMALLEST_LEAF
from nvscope.probes.traces.events import DETAILS, KINDS, Event
from nvscope.probes.traces.tracefile import TraceError, events

# No address reaches the flag bits of an entry's value (rules.UNKNOWN_IPA); Arm has at most 2^56.
_NO_ADDRESS = 1 << 62


class Row(NamedTuple):
    """What follows from an Event as far as its numbers go; at: the row's number, from 0.

    All that goes through a trace row by row has these: they are half as large as an Event, and made
    in a fifth of the time.
    """

    at: int
    kind: str
    time_ns: int
    tid: int
    kvm: int
    pid: int
    mmu: int
    canonical: int
    nested: int
    size: int
    detail: str
    result: int
    full: bool
    duration_ns: int


_COLUMNS = (
    *("time_ns", "tid", "kvm", "pid", "mmu", "canonical_ipa", "nested_ipa"),
    *("size", "result", "full", "duration_ns"),
)


# (rows,) int64, increasing: where the rows of a batch are in the trace.
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Share(NamedTuple):
    """Which VMs to look at: those whose `struct kvm` falls into share number n, of `of`."""

    n: int = 0
    of: int = 1


ALL = Share()


class Words:
    """A column of words: `codes` into `names`."""

    def __init__(self, codes: np.ndarray[Any, Any], names: list[str]) -> None:
        self.codes = codes
        self.names = names

    def is_one_of(self, names: Iterable[str]) -> np.ndarray[Any, Any]:
        """(rows,) bool."""
        return np.asarray(self.mapped(dict.fromkeys(names, True), False))

    def mapped(self, numbers: Mapping[str, int], default: int) -> np.ndarray[Any, Any]:
        """(rows,) the number for each word."""
        table = np.array([numbers.get(name, default) for name in self.names] or [default])
        return np.asarray(table[self.codes])

    def taken(self, where: np.ndarray[Any, Any]) -> Words:
        """Only these rows."""
        return Words(self.codes[where], self.names)

    def words(self, part: slice) -> list[str]:
        """Those rows as they are."""
        return list(map(self.names.__getitem__, self.codes[part].tolist()))


@dataclass(frozen=True)
class Columns:
    """Rows of a batch. numbers: (rows,) where they are in the trace.

    values: those of _COLUMNS, (rows,) each.
    """

    numbers: Numbers
    kinds: Words
    details: Words
    values: dict[str, np.ndarray[Any, Any]]

    def __len__(self) -> int:
        return len(self.numbers)

    def taken(self, where: np.ndarray[Any, Any]) -> Columns:
        """Only these rows."""
        values = {name: column[where] for name, column in self.values.items()}
        kinds, details = self.kinds.taken(where), self.details.taken(where)
        return Columns(self.numbers[where], kinds, details, values)

    def rows(self, start: int = 0, end: int | None = None) -> Iterator[Row]:
        """Some of them, one by one."""
        part = slice(start, end)
        c = {name: values[part].tolist() for name, values in self.values.items()}
        rows = zip(
            self.numbers[part].tolist(),
            self.kinds.words(part),
            *(c[name] for name in ("time_ns", "tid", "kvm", "pid", "mmu", "canonical_ipa")),
            *(c[name] for name in ("nested_ipa", "size")),
            self.details.words(part),
            *(c[name] for name in ("result", "full", "duration_ns")),
            strict=True,
        )
        return map(partial(tuple.__new__, Row), rows)


def decode(batch: pa.RecordBatch, numbers: Numbers, share: Share = ALL) -> Columns:
    """The rows that matter. numbers: (rows,) of the batch's in the trace. Raises TraceError."""
    columns = unchecked(batch, numbers)
    kinds = columns.kinds
    _check_words(kinds, columns.details, numbers)
    _check_ranges(kinds, columns.values, numbers)
    keep = ~kinds.is_one_of(["fault"])
    if share.of > 1:
        ours = _mixed(columns.values["kvm"]) % np.uint64(share.of) == share.n
        keep &= ours | kinds.is_one_of(["loss"])
    return columns.taken(np.nonzero(keep)[0])


def unchecked(batch: pa.RecordBatch, numbers: Numbers) -> Columns:
    """All rows of a batch, whatever they say. numbers: as above. Raises TraceError."""
    kinds, details = words_of(batch, "kind", numbers), words_of(batch, "detail", numbers)
    return Columns(numbers, kinds, details, {name: _numbers(batch, name) for name in _COLUMNS})


def rows_of(trace: Iterable[tuple[int, Event]]) -> Iterator[Row]:
    """The same of single events, each with its row number; they are not checked."""
    for at, e in trace:
        if e.kind != "fault":
            yield Row(
                *(at, e.kind, e.time_ns, e.tid, e.kvm, e.pid, e.mmu, e.canonical_ipa),
                *(e.nested_ipa, e.size, e.detail, e.result, e.full, e.duration_ns),
            )


def event_at(batch: pa.RecordBatch, index: int) -> Event:
    """One row of a batch, whole."""
    return next(events(batch.slice(index, 1)))


def words_of(batch: pa.RecordBatch, name: str, numbers: Numbers) -> Words:
    """A column of words. numbers: as above. Raises TraceError."""
    column = batch.column(name)
    try:
        names = column.dictionary.to_pylist()
    except UnicodeDecodeError:
        raise TraceError(f"from row {next(iter(numbers), 0)} on, {name} is no text") from None
    return Words(column.indices.to_numpy(zero_copy_only=False).astype(np.int64), names)


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False))


def _mixed(pointers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fibonacci hashing; the low bits of pointers are all alike."""
    return np.asarray((pointers >> np.uint64(6)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40))


def _check_words(kinds: Words, details: Words, numbers: Numbers) -> None:
    """A newer recorder may know more words; a trace that has them cannot be judged by this one."""
    width = max(len(details.names), 1)
    pairs = kinds.codes * width + details.codes
    for pair in np.nonzero(np.bincount(pairs))[0].tolist():
        kind, detail = kinds.names[pair // width], details.names[pair % width]
        known = DETAILS.get(kind)
        if kind not in KINDS or (known is not None and detail not in known):
            at = numbers[np.nonzero(pairs == pair)[0][0]]
            what = f"{kind!r:.40}" if kind not in KINDS else f"{kind} {detail!r:.40}"
            raise TraceError(f"row {at}: {what} is no event that this nvscope knows")


def _check_ranges(kinds: Words, columns: dict[str, np.ndarray[Any, Any]], numbers: Numbers) -> None:
    mapped = kinds.is_one_of(("record", "map"))
    ranges = mapped | kinds.is_one_of(("notifier_begin", "notifier_end"))
    size, limit = columns["size"], np.uint64(_NO_ADDRESS)
    bad = mapped & ((size & (size - np.uint64(1)) != 0) | (size < SMALLEST_LEAF))
    bad |= ranges & ((size == 0) | (columns["canonical_ipa"] >= limit) | (size > limit))
    bad |= mapped & (columns["nested_ipa"] >= limit)
    if bad.any():
        index = int(np.nonzero(bad)[0][0])
        kind = kinds.names[kinds.codes[index]]
        raise TraceError(f"row {numbers[index]}: no {kind} can have this range")
