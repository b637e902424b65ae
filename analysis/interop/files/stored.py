"""Reads traces of a data set, share by share: see layout.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nvscope.analysis.interop.files import parquet
from nvscope.analysis.interop.files.layout import ALL, NUMBER, NUMBERED, ROWS_KEY, files, shares
from nvscope.probes.traces.events import COLUMNS, About
from nvscope.probes.traces.tracefile import TraceError

# (rows,) int64, where the rows of a batch are in the trace; and the batch.
Numbered = tuple[np.ndarray[Any, np.dtype[np.int64]], pa.RecordBatch]


@dataclass(frozen=True)
class Stored:
    """A trace in a data set. shares: name -> rows; ending: as a Reader says it."""

    folder: Path
    about: About
    ending: str
    rows: int
    shares: dict[str, int]


def stored(folder: Path) -> Stored:
    """What a trace's folder has, by its files' footers. Raises TraceError.

    What is said there has to fit together: no share is missing, and none is another trace's.
    """
    names = shares(folder)
    with opened(files(folder, ALL)[-1]) as head:
        about, ending, rows = head.about, head.ending, _rows_said(head)
    counts = {}
    for share in names:
        counts[share] = 0
        for path in files(folder, share):
            with opened(path) as file:
                counts[share] += file.rows
                if file.about != about:
                    raise TraceError(f"{path}: it is of another trace than {ALL}'s")
    if sum(counts.values()) != rows:
        raise TraceError(
            f"{folder}: the trace had {rows:,} rows, here are {sum(counts.values()):,}"
        )
    return Stored(folder, about, ending, rows, counts)


class Share:
    """The rows of one VM, and with them those that concern all. Raises TraceError.

    What else a trace's reader offers is the trace's; read_bytes is not kept.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._files = files(folder, name)
        self._of_all = files(folder, ALL)
        with opened(self._of_all[-1]) as head:
            self.about, self.ending, self.complete = head.about, head.ending, head.complete
            self._rows = _rows_said(head)
        self.read_bytes = 0

    def numbered(self) -> Iterator[Numbered]:
        """The rows, in their order."""
        of_all = self._read(self._of_all)
        return of_all if self._name == ALL else interleaved(self._read(self._files), of_all)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows without their numbers."""
        return (batch for _, batch in self.numbered())

    def own(self) -> Iterator[Numbered]:
        """Its rows, without those that concern all."""
        return self._read(self._files)

    def _read(self, paths: list[Path]) -> Iterator[Numbered]:
        last = -1
        for path in paths:
            with opened(path) as source:
                for batch in source.batches():
                    numbers = batch[NUMBER].to_numpy()
                    if not len(numbers):
                        continue
                    if (np.diff(numbers, prepend=last) <= 0).any() or numbers[-1] >= self._rows:
                        raise TraceError("its rows are not in order")
                    if paths is self._files and not _is_of(batch, self._name):
                        raise TraceError("it has rows of another VM")
                    last = int(numbers[-1])
                    yield numbers, batch.select(list(COLUMNS))


def interleaved(ones: Iterator[Numbered], others: Iterator[Numbered]) -> Iterator[Numbered]:
    """Two runs of rows as one, in the order of their numbers; fast if `others` are few."""
    one, other = next(ones, None), next(others, None)
    while one is not None and other is not None:
        if one[0][0] == other[0][0]:
            raise TraceError(f"row {one[0][0]} is there twice")
        if one[0][0] > other[0][0]:
            one, other, ones, others = other, one, others, ones
        upto = int(np.searchsorted(one[0], other[0][0]))
        yield one[0][:upto], one[1].slice(0, upto)
        left = one[0][upto:], one[1].slice(upto)
        one = left if len(left[0]) else next(ones, None)
    for begun, rest in ((one, ones), (other, others)):
        if begun is not None:
            yield begun
            yield from rest


@contextlib.contextmanager
def opened(path: Path) -> Iterator[parquet.ParquetSource]:
    """A file of a share. Raises TraceError, whose message names the file."""
    try:
        with contextlib.closing(parquet.ParquetSource(path, NUMBERED)) as source:
            yield source
    except TraceError as error:
        said = str(error)
        raise TraceError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from None
    except (UnicodeDecodeError, MemoryError):
        raise TraceError(f"{path}: it is damaged") from None


def _is_of(batch: pa.RecordBatch, share: str) -> bool:
    kvm = np.uint64(int(share, 16) if share != ALL else 0)
    return share == ALL or bool((batch["kvm"].to_numpy() == kvm).all())


def _rows_said(head: parquet.ParquetSource) -> int:
    said = head.said.get(ROWS_KEY, b"")
    if not said.isdigit() or len(said) > 18:
        raise TraceError("it does not say how many rows the trace had")
    return int(said)
