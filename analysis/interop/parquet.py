"""Traces as Parquet files: for archives, and for what reads no Arrow streams."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from nvscope.probes.events import SCHEMA_VERSION, About
from nvscope.probes.tracefile import ABOUT_KEY, MAX_BATCH_ROWS, SCHEMA, TraceError

ENDING_KEY = b"nvscope.ending"  # how the trace ended, "" of a complete one
# Rows are gathered into groups of this many: what a reader has to hold at one time.
GROUP_ROWS = 1 << 18
# What reading a damaged file raises; a text in it may be none.
_DAMAGES = (pa.ArrowException, OSError, ValueError)
_MAX_METADATA = 1 << 20  # bytes of one text, or elements of one list, in a file's footer


class Sink:
    """Writes batches to a stream, as Parquet. Raises OSError."""

    def __init__(self, stream: IO[bytes], about: About) -> None:
        self._schema = SCHEMA.with_metadata(said_of(about))
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")
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


class Source:
    """Reads such a file, as tracefile.Reader does. Raises TraceError.

    schema: the columns that it has to have. rows: how many it has; said: all of its metadata.
    """

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        try:
            self._file = pq.ParquetFile(
                path,
                thrift_string_size_limit=_MAX_METADATA * 16,
                thrift_container_size_limit=_MAX_METADATA,
            )
            found = self._file.schema_arrow
        except _DAMAGES as error:
            raise TraceError(_why_unreadable(error)) from None
        self.said: dict[bytes, bytes] = self._file.metadata.metadata or {}
        self.about = _about(self.said.get(ABOUT_KEY), found, schema)
        self.rows: int = self._file.metadata.num_rows
        self.ending = self.said.get(ENDING_KEY, b"it does not say how it ends").decode(
            "utf-8", "replace"
        )
        self.complete = not self.ending
        self.read_bytes = 0
        self._schema = schema
        self._size = path.stat().st_size

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        try:
            rows = 0
            for batch in self._file.iter_batches(batch_size=MAX_BATCH_ROWS):
                rows += batch.num_rows
                self.read_bytes = self._size * rows // max(self.rows, 1)  # about
                yield _as_trace(batch, self._schema)
        except _DAMAGES as error:
            raise TraceError(f"it is damaged ({_one_line(error)})") from None

    def close(self) -> None:
        """No more of it will be read."""
        self._file.close()


def said_of(about: About) -> dict[bytes, bytes]:
    """What a trace says of itself, as metadata of a file."""
    return {ABOUT_KEY: json.dumps({"schema": SCHEMA_VERSION} | asdict(about)).encode()}


def _about(text: bytes | None, found: pa.Schema, wanted: pa.Schema) -> About:
    if text is None:
        raise TraceError("this is a Parquet file, but no trace of nvscope's")
    if found.names != wanted.names or not all(map(_is_as, found.types, wanted.types)):
        raise TraceError("its columns are not a trace's")
    try:
        said = json.loads(text)
        version = said.pop("schema")
        about = About(**said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TraceError("what it says of itself cannot be read") from None
    if version != SCHEMA_VERSION:
        raise TraceError(f"its format has version {version!r:.20}, not {SCHEMA_VERSION}")
    return about


def _is_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(wanted):
        return bool(pa.types.is_string(getattr(found, "value_type", found)))
    return bool(found == wanted)


def _as_trace(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if any(column.null_count for column in batch.columns):
        raise TraceError("it is damaged (a value is missing)")
    return pa.record_batch(
        [_column(column, each.type) for column, each in zip(batch.columns, schema, strict=True)],
        schema=schema,
    )


def _column(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    if pa.types.is_dictionary(wanted):
        # Parquet numbers its words anew, with wider numbers.
        column = column.cast(pa.string()).dictionary_encode()
    return column.cast(wanted)


def _why_unreadable(error: Exception) -> str:
    # Arrow's own errors are OSErrors as well, and have no errno.
    if isinstance(error, OSError) and error.errno and error.errno != errno.EISDIR:
        return os.strerror(error.errno)
    return f"this is no Parquet file ({_one_line(error)})"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
