"""Anything that can be read as a trace, behind one interface: what a Reader of traces offers."""

from __future__ import annotations

import codecs
import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

import nvscope
from nvscope.analysis.interop import content
from nvscope.analysis.interop.files import parquet
from nvscope.analysis.interop.pipes import settled
from nvscope.analysis.interop.texts import header
from nvscope.analysis.interop.texts.gaps import survey
from nvscope.analysis.interop.texts.rows import Rows
from nvscope.analysis.interop.texts.text import FORMATS, Seen, parse
from nvscope.analysis.interop.texts.values import is_ours
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import SCHEMA, TraceError, TraceSource, columns_of, open_trace

BATCH_ROWS = 8192


class TextSource:
    """A text of ftrace's or perf's. Raises TraceError where it holds no event at all."""

    def __init__(self, path: Path, name: str, revmap: str) -> None:
        with _opened(path) as stream:
            found = header.read(stream)
        if not revmap and not found.revmap:
            with _opened(path) as stream:
                revmap = header.guess_revmap(stream)
        self.about = About(
            kernel=found.kernel,
            arch=found.arch,
            revmap=revmap or found.revmap,
            boot_id=found.boot_id,
            probes=found.probes,
            recorder=f"{name}, converted by nvscope {nvscope.__version__}",
        )
        self.complete, self.ending = True, ""
        self.read_bytes = 0
        self._path, self._format = path, FORMATS[name]
        self._rows = Rows(found.words, found.offsets, found.page_bytes)
        self._seen = Seen()
        self._has_header = found.found

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows. Raises TraceError, after the last, if there was none."""
        rows = 0
        with _opened(self._path) as stream:
            for batch in batched(self._events(stream)):
                if not self._rows.known:
                    continue  # losses alone
                rows += batch.num_rows
                self.read_bytes = stream.tell()
                yield batch
        if not rows:
            first = self._seen.first_unknown
            left_out = ", ".join(f"{count} {why}" for why, count in self._rows.dropped.items())
            raise TraceError(
                f"there is no event in it that is known (see RECIPES.md); {self._seen.lines} lines"
                + (f", the first that is not understood: {first!r}" if first else "")
                + (f", events: {left_out}" if left_out else "")
                + "; `nvscope convert --recipe` prints how to record those that are needed"
            )

    def _events(self, stream: IO[bytes]) -> Iterator[Event]:
        with _opened(self._path) as whole:
            seen = Seen()
            items = parse(whole, self._format, seen, values=False)
            gaps = deque(survey(items, seen, is_ours))
        for item in parse(stream, self._format, self._seen):
            while gaps and gaps[0].after < self._seen.lines:
                yield from self._rows.rows(gaps.popleft())
            yield from self._rows.rows(item)
        for gap in gaps:
            yield from self._rows.rows(gap)

    def notes(self) -> Iterator[str]:
        """What was left out, and what that means."""
        if not self._has_header:
            yield "no header of a recipe: VMs' addresses and full unmaps are guessed"
        if self._seen.unknown:
            first = self._seen.first_unknown
            yield f"{self._seen.unknown} lines were not understood, the first: {first!r}"
        if self._seen.is_cut:
            yield "its last line has no end: something may be missing"
        for why, count in self._rows.dropped.items():
            yield f"{count} events were left out: {why}"
        if self._rows.ties:
            yield (
                f"{self._rows.ties} events of two CPUs have the same time: their order is not"
                " known (perf script --ns and trace-cmd report -t print nanoseconds)"
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise TraceError(error.strerror or str(error)) from None
    with stream:
        if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:  # of editors on Windows
            stream.seek(0)
        yield stream


@contextlib.contextmanager
def open_source(path: Path, name: str = "", revmap: str = "") -> Iterator[TraceSource]:
    """Open a file, or a pipe, which is read to its end first.

    name: a format of formats.SOURCES, by default what its content says.

    Raises TraceError, whose message names the file; so do the source's batches().
    """
    try:
        with settled(path) as there:
            name = name or _format_of(there)
            if name == "trace":
                with open_trace(there) as reader:
                    yield reader
            elif name == "parquet":
                with contextlib.closing(parquet.ParquetSource(there)) as source:
                    yield source
            else:
                yield TextSource(there, name, revmap)
    except TraceError as error:
        said = str(error)
        raise TraceError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from None
    except (UnicodeDecodeError, MemoryError):
        # Of a flipped bit in a name, or in a length.
        raise TraceError(f"{path}: it is damaged") from None


def notes_of(source: TraceSource) -> list[str]:
    """What was left out of what was read, once all of it is."""
    return list(source.notes()) if isinstance(source, TextSource) else []


def _format_of(path: Path) -> str:
    try:
        return content.format_of(path)
    except OSError as error:
        raise TraceError(error.strerror or str(error)) from None


def batched(events: Iterable[Event]) -> Iterator[pa.RecordBatch]:
    """Rows in batches of BATCH_ROWS."""
    left = iter(events)
    while rows := list(itertools.islice(left, BATCH_ROWS)):
        columns = columns_of(rows)
        arrays = [pa.array(columns[each.name], each.type) for each in SCHEMA]
        yield pa.record_batch(arrays, schema=SCHEMA)
