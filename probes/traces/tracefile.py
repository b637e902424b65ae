"""Traces on disk: Arrow IPC streams of the event table, compressed, a batch at a time.

A stream that ends early, for a full disk or a crash, is whole up to its last batch. Anything that
reads Arrow reads it: the columns are those of events.Event. pyarrow is imported here, and numpy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc

from nvscope.probes.errors import shown
from nvscope.probes.traces.about import ABOUT_KEY, AboutError, dumped, parsed
from nvscope.probes.traces.events import COLUMNS, About, Event
from nvscope.probes.traces.ipcframes import MAX_ROWS, FrameError, Frames

MAX_BATCH_ROWS = MAX_ROWS
# Longest word, in characters: a VM's name has no more (names.NAME_LIMIT), a task's has 15. Longer
# ones are cut: written out for each row, as Parquet may have to, they make GiBs of a small file.
MAX_WORD = 128
COMPRESSION = "zstd"

_WORDS = pa.dictionary(pa.int16(), pa.string())
_TYPES = {
    "kind": _WORDS,
    "comm": _WORDS,
    "vm": _WORDS,
    "detail": _WORDS,
    "cpu": pa.uint16(),
    "tid": pa.int32(),
    "pid": pa.int32(),
    "result": pa.int32(),
    "full": pa.bool_(),
    "may_block": pa.bool_(),
    "count": pa.uint32(),
}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.uint64())) for name in COLUMNS])


class TraceError(Exception):
    """A file that is no trace, or none that can be read; the message is one line."""


class Writer:
    """Writes batches to a binary stream; each is there for readers when `write` returns.

    Raises OSError where the stream does: what was written before stays readable.
    """

    def __init__(self, stream: IO[bytes], about: About) -> None:
        schema = SCHEMA.with_metadata({ABOUT_KEY: dumped(about)})
        options = pa.ipc.IpcWriteOptions(compression=COMPRESSION, emit_dictionary_deltas=True)
        self._stream = stream
        self._writer = pa.ipc.new_stream(stream, schema, options=options)

    def write(self, columns: Mapping[str, Any]) -> None:
        """Add rows. columns: all of COLUMNS, each a sequence or an Arrow array of one length."""
        batch = pa.record_batch([pa.array(columns[f.name], f.type) for f in SCHEMA], schema=SCHEMA)
        for start in range(0, batch.num_rows, MAX_BATCH_ROWS):
            self._writer.write_batch(batch.slice(start, MAX_BATCH_ROWS))
        self._stream.flush()

    def close(self) -> None:
        """Mark the end: a reader then knows that nothing is missing there."""
        self._writer.close()
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TraceSource(Protocol):
    """What can be read as a trace: see Reader."""

    about: About
    complete: bool
    ending: str

    @property
    def read_bytes(self) -> int: ...

    def batches(self) -> Iterator[pa.RecordBatch]: ...


class Reader:
    """Reads a trace from a binary stream, batch by batch. Raises TraceError.

    about: what the trace says of itself. complete: after the last batch, whether the recorder had
    ended it; if not, ending says in a line what was found instead. Memory is bounded, whatever the
    stream claims: see ipcframes.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.complete = False
        self.ending = ""
        self._frames = Frames(stream)
        with _as_trace_error("this is no Arrow stream"):
            self._batches = pa.ipc.open_stream(self._frames)
        with _as_trace_error("its schema is damaged"):
            self.about = _about(self._batches.schema)

    @property
    def read_bytes(self) -> int:
        """How much of the stream was read."""
        return self._frames.read_bytes

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches that are whole."""
        while True:
            try:
                batch = self._batches.read_next_batch()
            except StopIteration:
                self._end()
                return
            except FrameError as error:
                raise TraceError(str(error)) from None
            except (OSError, pa.ArrowException, ValueError) as error:
                if self._frames.ended is not False:
                    raise TraceError(f"a batch is damaged ({_one_line(error)})") from None
                self._end()  # dictionaries without their batch
                return
            yield sound(batch, SCHEMA)

    def events(self) -> Iterator[Event]:
        """Row by row. Slow: for small traces and for tests."""
        for batch in self.batches():
            yield from events(batch)

    def _end(self) -> None:
        self.complete = self._frames.ended is True
        if not self.complete:
            cut = "it ends within a batch" if self._frames.cut else "the recorder did not end it"
            self.ending = cut


@contextlib.contextmanager
def open_trace(path: Path) -> Iterator[Reader]:
    """Open a file for reading. Raises TraceError, whose message names the file."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    with stream:
        try:
            yield Reader(stream)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None


def events(batch: pa.RecordBatch) -> Iterator[Event]:
    """The rows of a batch."""
    columns = [column.to_pylist() for column in batch.columns]
    for row in zip(*columns, strict=True):
        yield Event(*row)


def columns_of(rows: Iterable[Event]) -> dict[str, list[Any]]:
    """What Writer.write takes.

    >>> columns_of([Event("map", 7)])["time_ns"]
    [7]
    """
    rows = list(rows)
    return {name: [getattr(row, name) for row in rows] for name in COLUMNS}


def _about(schema: pa.Schema) -> About:
    text = (schema.metadata or {}).get(ABOUT_KEY)
    if text is None:
        raise TraceError("this is an Arrow stream, but no trace of nvscope's")
    try:
        about = parsed(text)
    except AboutError as error:
        raise TraceError(str(error)) from None
    _require_columns(schema)
    return about


def _require_columns(schema: pa.Schema) -> None:
    wrong = [f.name for f in SCHEMA if schema.names.count(f.name) != 1]
    wrong += [f.name for f in SCHEMA if f.name not in wrong and schema.field(f.name).type != f.type]
    if wrong or len(schema) != len(SCHEMA):
        raise TraceError(f"its columns are not a trace's: {', '.join(wrong) or 'there are more'}")


def sound(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows, by this schema, all of whose values are there and are what they ought to be.

    Words that are longer than any recorder's are cut to MAX_WORD characters. Raises TraceError.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise TraceError(f"a batch is damaged ({_one_line(error)})") from None
    columns = [batch.column(name) for name in schema.names]
    columns = [_short(c) if pa.types.is_dictionary(c.type) else c for c in columns]
    if any(column.null_count for column in columns):
        raise TraceError("a batch is damaged (a value is missing)")
    return pa.record_batch(columns, schema=schema)


def _short(column: pa.DictionaryArray) -> pa.DictionaryArray:
    words = column.dictionary
    if words.null_count:
        raise TraceError("a batch is damaged (a word is missing)")
    if (pc.max(pc.binary_length(words)).as_py() or 0) <= MAX_WORD:
        return column
    return pa.DictionaryArray.from_arrays(
        column.indices, pc.utf8_slice_codeunits(words, 0, MAX_WORD)
    )


@contextlib.contextmanager
def _as_trace_error(what: str) -> Iterator[None]:
    try:
        yield
    except FrameError as error:
        raise TraceError(str(error)) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TraceError(f"{what} ({_one_line(error)})") from None


def _one_line(error: BaseException) -> str:
    return shown(" ".join(str(error).split())[:200])
