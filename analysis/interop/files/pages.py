"""What a Parquet file claims to be, looked at before Arrow gets to decode it: see ipcframes.

A file of a few KiB may have pages that become GiBs, or a footer that does. So the footer is walked
through first, and of each row group the heads of its pages, which say how large they will be.
Source: Parquet's parquet.thrift (FileMetaData, RowGroup, PageHeader), by the fields' numbers.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from nvscope.analysis.interop.files.thrift import INTEGERS, LIST, STRUCT, Cursor, ThriftError
from nvscope.probes.traces.ipcframes import MAX_WORDS_BYTES

MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 1 << 25  # of two thousand million rows, in groups of parquet.GROUP_ROWS
MAX_GROUPS = 1 << 13
# Arrow's own writers put as many rows into a group where they are told nothing else.
MAX_GROUP_ROWS = 1 << 20
# Writers begin a new page after 1 MiB; a page of a dictionary has all words of a group.
MAX_PAGE_BYTES = MAX_WORDS_BYTES
MAX_WORD_PAGES_BYTES = 1 << 24  # of one column of a group: 16 bytes for each row
_CHUNK = 1 << 20  # bytes of a read
_MAX_HEAD_BYTES = 1 << 14  # with the least and the largest value, which writers cut

_SCHEMA, _GROUPS = 2, 4  # FileMetaData
_COLUMNS, _ROWS = 1, 3  # RowGroup
_ELSEWHERE, _METADATA = 1, 3  # ColumnChunk
_CHUNK_VALUES, _CHUNK_SIZE, _DATA, _DICTIONARY = 5, 7, 9, 11  # ColumnMetaData
_TYPE, _PLAIN_SIZE, _SIZE = 1, 2, 3  # PageHeader
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3  # enum PageType
_HEADS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}  # PageHeader's field for it
_VALUES = 1  # DataPageHeader, DataPageHeaderV2, DictionaryPageHeader
_ENCODING = {_DATA_PAGE: 2, _DICTIONARY_PAGE: 2, _DATA_PAGE_V2: 4}
# enum Encoding: those in which a page holds as many bytes as it says. In others, a word can be as
# good as for nothing, or a number of words be made up.
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT = 0, 2, 3, 8, 9
USUAL = frozenset((_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT))
DELTA_BINARY_PACKED = 5


class PageError(Exception):
    """A file that no trace is; the message is one line."""


@dataclass(frozen=True)
class Column:
    """What may be in a column of the file."""

    name: str
    is_words: bool = False
    encodings: frozenset[int] = USUAL


@dataclass(frozen=True)
class _Chunk:
    """A column of a row group. start: of its first page in the file; values: rows."""

    name: str
    start: int
    size: int
    values: int
    is_words: bool
    encodings: frozenset[int]


@dataclass(frozen=True)
class _Page:
    """What a page's head says. end: where the head ends."""

    kind: int
    plain_size: int
    size: int
    values: int
    encoding: int
    end: int


class Footer:
    """A file's footer, checked. Raises PageError, OSError.

    Arrow has the same in its objects, and ends the process where some of what they say is damaged.
    """

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        self._stream = stream
        self._columns = columns
        self._start, self._data = _footer(stream)
        self._groups: list[int] = []  # where each begins in the footer
        try:
            self._walk(Cursor(self._data))
        except ThriftError as error:
            raise PageError(f"this is no Parquet file (its footer is damaged: {error})") from None
        self._require_one_file()

    def check_group(self, number: int) -> None:
        """Of a row group, before it is read."""
        try:
            rows, chunks = self._chunks(number)
        except ThriftError as error:
            raise PageError(f"it is damaged (a row group: {error})") from None
        _check_group(self._stream, rows, chunks)

    def _require_one_file(self) -> None:
        """Files that were joined are as the last one's footer says, in the bytes of the first."""
        at = 0
        with contextlib.suppress(ThriftError, IndexError):
            at = max((chunk.start + chunk.size for chunk in self._chunks(-1)[1]), default=0)
        self._stream.seek(max(at, 0))
        last = b""
        while at < self._start and (data := self._stream.read(min(_CHUNK, self._start - at))):
            if MAGIC + MAGIC in last + data:
                raise PageError(
                    "Parquet files were joined in it, which cannot be read; take the files that"
                    " they were, one by one"
                )
            at, last = at + len(data), data[-len(MAGIC) * 2 :]

    def _walk(self, cursor: Cursor) -> None:
        """Lists of lists: their product is what memory is needed for."""
        for field, kind in cursor.fields():
            if (field, kind) == (_GROUPS, LIST):
                inner, count = cursor.list_of()
                if inner != STRUCT:
                    raise ThriftError("a row group is none")
                if len(self._groups) + count > MAX_GROUPS:
                    raise PageError(f"it claims to have {count:,} row groups")
                for _ in range(count):
                    self._groups.append(cursor.at)
                    self._walk_group(cursor)
            elif (field, kind) == (_SCHEMA, LIST):
                inner, count = cursor.list_of()
                if count > 2 * len(self._columns):
                    raise PageError("this is a Parquet file, but no trace of nvscope's")
                for _ in range(count):
                    cursor.skip(inner)
            else:
                cursor.skip(kind)

    def _walk_group(self, cursor: Cursor) -> None:
        for field, kind in cursor.fields():
            if (field, kind) != (_COLUMNS, LIST):
                cursor.skip(kind)
                continue
            inner, count = cursor.list_of()
            if count > len(self._columns):
                raise PageError(f"a row group claims to have {count:,} columns")
            for _ in range(count):
                cursor.skip(inner)

    def _chunks(self, number: int) -> tuple[int, list[_Chunk]]:
        """How many rows a group has, and where its columns are."""
        cursor, rows = Cursor(self._data, self._groups[number]), -1
        chunks: list[_Chunk] = []
        for field, kind in cursor.fields():
            if (field, kind) == (_COLUMNS, LIST):
                inner, count = cursor.list_of()
                if inner != STRUCT or count != len(self._columns) or chunks:
                    raise ThriftError("its columns are not all there")
                chunks = [_chunk(cursor, column) for column in self._columns]
            elif field == _ROWS and kind in INTEGERS:
                rows = cursor.integer()
            else:
                cursor.skip(kind)
        return rows, chunks


def _chunk(cursor: Cursor, column: Column) -> _Chunk:
    said: dict[int, int] = {}
    for field, kind in cursor.fields():
        if field == _METADATA and kind == STRUCT:
            said = _integers(cursor)
        elif field == _ELSEWHERE:
            raise ThriftError(f"the column {column.name} is in another file")
        else:
            cursor.skip(kind)
    start, dictionary = said.get(_DATA, -1), said.get(_DICTIONARY, 0)
    if 0 < dictionary < start:  # as Arrow has it
        start = dictionary
    size, values = said.get(_CHUNK_SIZE, -1), said.get(_CHUNK_VALUES, -1)
    return _Chunk(column.name, start, size, values, column.is_words, column.encodings)


def _footer(stream: IO[bytes]) -> tuple[int, bytes]:
    """Where it begins, and what it is."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 8))
    length, magic = struct.unpack("<I4s", stream.read(8).rjust(8, b"\0"))
    if magic != MAGIC or length > size - 12:
        raise PageError("this is no Parquet file, or not all of one: its end is missing")
    if length > MAX_FOOTER_BYTES:
        raise PageError(f"its footer claims to have {length:,} bytes")
    stream.seek(size - 8 - length)
    return size - 8 - length, stream.read(length)


def _check_group(stream: IO[bytes], rows: int, chunks: Sequence[_Chunk]) -> None:
    if not 0 <= rows <= MAX_GROUP_ROWS:
        raise PageError(
            f"a row group claims to have {rows:,} rows: write it with {MAX_GROUP_ROWS:,} at most"
        )
    size = stream.seek(0, 2)
    for chunk in chunks:
        if chunk.start < 0 or chunk.size < 0 or chunk.start + chunk.size > size:
            raise PageError(f"it is damaged (the column {chunk.name} lies outside of it)")
        if chunk.values != rows:
            raise PageError(f"it is damaged (the column {chunk.name} has {chunk.values:,} values)")
        try:
            _check_pages(stream, chunk)
        except ThriftError as error:
            raise PageError(f"it is damaged (a page of {chunk.name}: {error})") from None


def _check_pages(stream: IO[bytes], chunk: _Chunk) -> None:
    at, end, values, words_size = chunk.start, chunk.start + chunk.size, 0, 0
    while values < chunk.values:
        if at >= end:
            raise PageError(f"it is damaged (of the column {chunk.name} pages are missing)")
        stream.seek(at)
        page = _page(stream.read(min(_MAX_HEAD_BYTES, end - at)))
        at += page.end + page.size
        _check_page(page, chunk)
        if at > end:
            raise PageError(f"it is damaged (a page of {chunk.name} goes on after its end)")
        values += page.values if page.kind != _DICTIONARY_PAGE else 0
        words_size += page.plain_size
        if chunk.is_words and words_size > MAX_WORD_PAGES_BYTES:
            raise PageError(f"the column {chunk.name} claims to become {words_size:,} bytes")


def _page(data: bytes) -> _Page:
    said: dict[int, int] = {}
    of_kind: dict[int, dict[int, int]] = {}
    cursor = Cursor(data)
    for field, kind in cursor.fields():
        if kind in INTEGERS:
            said[field] = cursor.integer()
        elif kind == STRUCT and field in _HEADS.values():
            of_kind[field] = _integers(cursor)
        else:
            cursor.skip(kind)
    kind = said.get(_TYPE, -1)
    head = of_kind.get(_HEADS.get(kind, -1), {})
    sizes = said.get(_PLAIN_SIZE, -1), said.get(_SIZE, -1)
    values, encoding = head.get(_VALUES, 0), head.get(_ENCODING.get(kind, -1), _PLAIN)
    return _Page(kind, *sizes, values, encoding, cursor.at)


def _integers(cursor: Cursor) -> dict[int, int]:
    found = {}
    for field, kind in cursor.fields():
        if kind in INTEGERS:
            found[field] = cursor.integer()
        else:
            cursor.skip(kind)
    return found


def _check_page(page: _Page, chunk: _Chunk) -> None:
    for size in (page.plain_size, page.size):
        if size < 0:
            raise PageError(f"it is damaged (a page of {chunk.name} has no size)")
        if size > MAX_PAGE_BYTES:
            raise PageError(f"a page of {chunk.name} claims to have {size:,} bytes")
    if not 0 <= page.values <= MAX_GROUP_ROWS:
        raise PageError(f"a page of {chunk.name} claims to have {page.values:,} values")
    if page.encoding not in chunk.encodings:
        raise PageError(
            f"the column {chunk.name} is encoded in a way that is not read here"
            f" (number {page.encoding} of Parquet's): write it with a dictionary, or plainly"
        )
