"""Traces as Parquet files: for archives, and for what reads no Arrow streams."""

from __future__ import annotations

import json
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
        text = json.dumps({"schema": SCHEMA_VERSION} | asdict(about))
        schema = SCHEMA.with_metadata({ABOUT_KEY: text.encode()})
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")
        self._schema = schema
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
    """Reads such a file, as tracefile.Reader does. Raises TraceError."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(
                path,
                thrift_string_size_limit=_MAX_METADATA * 16,
                thrift_container_size_limit=_MAX_METADATA,
            )
            schema = self._file.schema_arrow
        except FileNotFoundError:
            raise TraceError("No such file or directory") from None
        except _DAMAGES as error:
            raise TraceError(f"this is no Parquet file ({_one_line(error)})") from None
        metadata = self._file.metadata.metadata or {}
        self.about = _about(metadata.get(ABOUT_KEY), schema)
        self.ending = metadata.get(ENDING_KEY, b"it does not say how it ends").decode(
            "utf-8", "replace"
        )
        self.complete = not self.ending

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        try:
            for batch in self._file.iter_batches(batch_size=MAX_BATCH_ROWS):
                yield _as_trace(batch)
        except _DAMAGES as error:
            raise TraceError(f"it is damaged ({_one_line(error)})") from None


def _about(text: bytes | None, schema: pa.Schema) -> About:
    if text is None:
        raise TraceError("this is a Parquet file, but no trace of nvscope's")
    if schema.names != SCHEMA.names or not all(map(_is_as, schema.types, SCHEMA.types)):
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


def _as_trace(batch: pa.RecordBatch) -> pa.RecordBatch:
    if any(column.null_count for column in batch.columns):
        raise TraceError("it is damaged (a value is missing)")
    return pa.record_batch(
        [_column(column, each.type) for column, each in zip(batch.columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def _column(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    if pa.types.is_dictionary(wanted):
        # Parquet numbers its words anew, with wider numbers.
        column = column.cast(pa.string()).dictionary_encode()
    return column.cast(wanted)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
