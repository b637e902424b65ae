"""Traces as Parquet files: for archives, and for what reads no Arrow streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from nvscope.analysis.interop.files import pages
from nvscope.analysis.interop.files.layout import NUMBER
from nvscope.analysis.interop.files.pages import PageError
from nvscope.probes.errors import shown
from nvscope.probes.traces.about import ABOUT_KEY, AboutError, dumped, parsed
from nvscope.probes.traces.events import About
from nvscope.probes.traces.ipcframes import MAX_WORDS, MAX_WORDS_BYTES
from nvscope.probes.traces.tracefile import MAX_BATCH_ROWS, SCHEMA, TraceError, sound

ENDING_KEY = b"nvscope.ending"  # how the trace ended, "" of a complete one
# Rows are gathered into groups of this many: what a reader has to hold at one time.
GROUP_ROWS = 1 << 18
# What reading a damaged file raises; a text in it may be none.
_DAMAGES = (pa.ArrowException, OSError, ValueError)
_MAX_ENDING = 256  # characters
# Of the pages of a column, at one time: not all of a group has to be in memory.
_BUFFER_BYTES = 1 << 17


class Sink:
    """Writes batches to a stream, as Parquet. Raises OSError."""

    def __init__(self, stream: IO[bytes], about: About) -> None:
        self._schema = SCHEMA.with_metadata(said_of(about))
        self._writer = _Writer(stream, self._schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= GROUP_ROWS:
            self._flush()

    def close(self, ending: str) -> None:
        """Finish the file. ending: as a Reader says it."""
        self._flush()
        self._writer.add_key_value_metadata({ENDING_KEY.decode(): ending})
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).replace_schema_metadata(
                self._schema.metadata
            )
            self._writer.write_table(table.unify_dictionaries(), row_group_size=GROUP_ROWS)
            self._waiting, self._rows = [], 0


class _Writer(pq.ParquetWriter):  # type: ignore[misc]
    """One that is given up, for what is read is damaged, writes nothing to a closed file."""

    def __del__(self) -> None:
        pass


class ParquetSource:
    """Reads such a file, as tracefile.Reader does. Raises TraceError.

    schema: the columns that it has to have. rows: how many it has; said: all of its metadata.
    Memory is bounded, whatever the file claims: see pages.
    """

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        # Opened here: Arrow takes no names that are no UTF-8.
        try:
            self._stream = path.open("rb")
        except IsADirectoryError:
            raise TraceError("this is no Parquet file, but a folder") from None
        except OSError as error:
            raise TraceError(error.strerror or str(error)) from None
        try:
            self._footer, self._file = _opened(self._stream, schema)
            self.said: dict[bytes, bytes] = self._file.metadata.metadata
            self.about = _about(self.said[ABOUT_KEY])
        except BaseException:
            self._stream.close()
            raise
        self.rows: int = self._file.metadata.num_rows
        ending = self.said.get(ENDING_KEY, b"it does not say how it ends")
        self.ending = shown(ending.decode("utf-8", "replace")[:_MAX_ENDING])
        self.complete = not self.ending
        self.read_bytes = 0
        self._schema = schema
        self._size = path.stat().st_size

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        rows = 0
        try:
            for group in range(self._file.num_row_groups):
                self._footer.check_group(group)
                for batch in self._file.iter_batches(MAX_BATCH_ROWS, row_groups=[group]):
                    rows += batch.num_rows
                    self.read_bytes = self._size * rows // max(self.rows, 1)  # about
                    yield _as_trace(batch, self._schema)
        except PageError as error:
            raise TraceError(str(error)) from None
        except _DAMAGES as error:
            raise TraceError(f"it is damaged ({_one_line(error)})") from None
        if rows != self.rows:
            raise TraceError(
                f"it is damaged (it has {rows:,} rows, and ought to have {self.rows:,})"
            )

    def close(self) -> None:
        """No more of it will be read."""
        self._file.close()
        self._stream.close()


def _opened(stream: IO[bytes], schema: pa.Schema) -> tuple[pages.Footer, pq.ParquetFile]:
    """Raises TraceError."""
    try:
        footer = pages.Footer(stream, [_column_of(each) for each in schema])
        found = pq.ParquetFile(
            stream,
            thrift_string_size_limit=pages.MAX_FOOTER_BYTES,
            thrift_container_size_limit=pages.MAX_GROUPS,
        )
        _require_trace(found, schema)
        return footer, pq.ParquetFile(
            stream,
            metadata=found.metadata,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            # Words as they are stored: each once. By themselves they would be there for each row.
            read_dictionary=[each.name for each in schema if pa.types.is_dictionary(each.type)],
        )
    except PageError as error:
        raise TraceError(str(error)) from None
    except _DAMAGES as error:
        raise TraceError(f"this is no Parquet file ({_one_line(error)})") from None


def _column_of(field: pa.Field) -> pages.Column:
    is_words = pa.types.is_dictionary(field.type)
    encodings = pages.USUAL | ({pages.DELTA_BINARY_PACKED} if field.name == NUMBER else set())
    return pages.Column(field.name, is_words, encodings)


def said_of(about: About) -> dict[bytes, bytes]:
    """What a trace says of itself, as metadata of a file."""
    return {ABOUT_KEY: dumped(about)}


def _require_trace(found: pq.ParquetFile, wanted: pa.Schema) -> None:
    if ABOUT_KEY not in (found.metadata.metadata or {}):
        raise TraceError("this is a Parquet file, but no trace of nvscope's")
    there = found.schema_arrow
    if there.names != wanted.names or not all(map(_is_as, there.types, wanted.types)):
        raise TraceError("its columns are not a trace's")


def _about(text: bytes) -> About:
    try:
        return parsed(text)
    except AboutError as error:
        raise TraceError(str(error)) from None


def _is_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(wanted):
        return bool(pa.types.is_string(getattr(found, "value_type", found)))
    return bool(found == wanted)


def _as_trace(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_column(column, each) for column, each in zip(batch.columns, schema, strict=True)]
    return sound(pa.record_batch(columns, schema=schema), schema)


def _column(column: pa.Array, field: pa.Field) -> pa.Array:
    if not pa.types.is_dictionary(field.type):
        return column
    # Parquet numbers its words anew, with wider numbers.
    words = column.dictionary
    if len(words) > MAX_WORDS or words.nbytes > 2 * MAX_WORDS_BYTES:
        raise TraceError(
            f"{field.name} claims to have {len(words):,} different words, {words.nbytes:,} bytes"
        )
    numbers = column.indices.cast(field.type.index_type)
    return pa.DictionaryArray.from_arrays(numbers, words.cast(field.type.value_type))


def _one_line(error: BaseException) -> str:
    return shown(" ".join(str(error).split())[:200])
