"""The messages of an Arrow IPC stream, each looked at before Arrow gets to decode it.

A stream says how long its parts are, and a hostile one lies: a batch of a few bytes may claim to be
GiBs, or really become that when it is decompressed. So a message is taken in whole, and only if all
the sizes that it states are those of a trace. Sources: Arrow's columnar format ("IPC streaming
format", "Compression"), its format/Message.fbs, and FlatBuffers' internals ("Tables").
"""

from __future__ import annotations

import struct
from typing import IO

from nvscope.probes.traces import filetypes

MAX_ROWS = 1 << 16  # of a batch: a reader need not believe in more
MAX_METADATA_BYTES = 1 << 20  # the schema's is the largest: some KiB
# 65,536 rows of 18 columns are some 7 MiB; a compressed body is no larger than that either.
MAX_BODY_BYTES = 1 << 24
# Distinct names of VMs and tasks, of one column: their indices have 16 bits.
MAX_WORDS = 1 << 15
MAX_WORDS_BYTES = 1 << 22

_CONTINUATION = 0xFFFFFFFF
_MARKER = struct.pack("<I", _CONTINUATION)
# enum MessageHeader of Message.fbs.
_DICTIONARY, _BATCH = 2, 3
# Fields of its tables, by their place there.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # Message
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3  # RecordBatch
_ID, _DATA, _IS_DELTA = 0, 1, 2  # DictionaryBatch
_NOT_COMPRESSED = -1  # instead of the length of a buffer that would not have become shorter


class FrameError(Exception):
    """A message that no trace has; the message is one line."""


class Frames:
    """A stream that gives Arrow whole messages, each checked. Raises FrameError.

    ended: None while it goes on; else whether the writer had marked the end. cut: whether the end
    came within a message. read_bytes: how much of the stream was read. A stream that grows has
    `read_now(size)`, which waits for nothing: by that is looked for what follows the end.
    """

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self.ended: bool | None = None
        self.cut = False
        self.read_bytes = 0
        self._begun = False  # whether one message was whole
        self._stream = stream
        self._ready = memoryview(b"")
        self._words: dict[int, tuple[int, int]] = {}  # dictionary -> words, bytes

    def read(self, size: int = -1) -> bytes:
        """As of a file; a message that is not whole is as if it were not there."""
        if not self._ready and self.ended is None:
            self._ready = memoryview(self._message())
        if size < 0:
            size = len(self._ready)
        data, self._ready = self._ready[:size], self._ready[size:]
        return bytes(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def _message(self) -> bytes:
        """The next one, or nothing."""
        lead = self._take(8)
        is_first = self.read_bytes == len(lead)
        if is_first and not lead.startswith(_MARKER):
            raise FrameError(self._stranger(lead))
        if len(lead) < 8:
            return self._end(cut=bool(lead))
        marker, length = struct.unpack("<II", lead)
        if marker != _CONTINUATION or length > MAX_METADATA_BYTES:
            raise FrameError("this is no Arrow stream" if is_first else "it is damaged")
        if length == 0:
            self.ended = True
            self._require_nothing_more()
            return lead
        metadata = self._take(length)
        if len(metadata) < length:
            return self._end(cut=True)
        message = _root(metadata)
        body_length = message.number(_BODY_LENGTH, "<q")
        if not 0 <= body_length <= MAX_BODY_BYTES:
            raise FrameError(f"a part of it claims to have {body_length:,} bytes")
        body = self._take(body_length)
        if len(body) < body_length:
            return self._end(cut=True)
        self._check(message, body)
        self._begun = True
        return lead + metadata + body

    def _stranger(self, lead: bytes) -> str:
        if not lead:
            return "this is no Arrow stream: it is empty"
        lead += self._take_now(filetypes.LEAD_BYTES - len(lead))
        what = filetypes.foreign(lead) or filetypes.text(lead)
        return f"this is no Arrow stream, but {what}" if what else "this is no Arrow stream"

    def _require_nothing_more(self) -> None:
        """Streams that were joined are not one: only the first would be read, and all believed."""
        end = self.read_bytes
        more = self._take_now(8)
        if more.startswith(_MARKER):
            raise FrameError(
                f"another trace begins after its end, at byte {end:,}: traces that were joined"
                " cannot be read; take the files that they were, one by one"
            )
        if more:
            raise FrameError(f"it goes on after its end, at byte {end:,}, with what is no trace")

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.read_bytes += len(data)
        return data

    def _take_now(self, size: int) -> bytes:
        data: bytes = getattr(self._stream, "read_now", self._stream.read)(size)
        self.read_bytes += len(data)
        return data

    def _end(self, *, cut: bool) -> bytes:
        if not self._begun:
            size = self.read_bytes
            raise FrameError(f"this is no Arrow stream, or not even its head: it has {size} bytes")
        self.ended, self.cut = False, cut
        return b""

    def _check(self, message: _Table, body: bytes) -> None:
        kind, header = message.number(_HEADER_TYPE, "<B"), message.table(_HEADER)
        if header is None:
            raise FrameError("it is damaged (a message has nothing in it)")
        if kind == _BATCH:
            _check_rows(header, MAX_ROWS)
            _check_buffers(header, body, MAX_BODY_BYTES)
        elif kind == _DICTIONARY:
            self._check_words(header, body)

    def _check_words(self, header: _Table, body: bytes) -> None:
        """Dictionaries grow by deltas, and could do so without end."""
        data = header.table(_DATA)
        if data is None:
            raise FrameError("it is damaged (a dictionary has nothing in it)")
        rows = _check_rows(data, MAX_WORDS)
        size = _check_buffers(data, body, MAX_WORDS_BYTES)
        name = header.number(_ID, "<q")
        if header.number(_IS_DELTA, "<B"):
            before = self._words.get(name, (0, 0))
            rows, size = rows + before[0], size + before[1]
        self._words[name] = (rows, size)
        if rows > MAX_WORDS or size > MAX_WORDS_BYTES:
            raise FrameError(f"a column claims to have {rows:,} different words, {size:,} bytes")


def _check_rows(batch: _Table, limit: int) -> int:
    rows = batch.number(_ROWS, "<q")
    if not 0 <= rows <= limit:
        raise FrameError(f"a batch claims to have {rows:,} rows")
    return rows


def _check_buffers(batch: _Table, body: bytes, limit: int) -> int:
    """The bytes that the buffers will have when they are decompressed."""
    compressed = batch.table(_COMPRESSION) is not None
    total = 0
    for offset, length in batch.structs(_BUFFERS, "<qq"):
        if offset < 0 or length < 0 or offset + length > len(body):
            raise FrameError("it is damaged (a buffer lies outside its batch)")
        plain = length
        if compressed and length >= 8:
            (plain,) = struct.unpack_from("<q", body, offset)
            plain = length - 8 if plain == _NOT_COMPRESSED else plain
        total += plain
        if not 0 <= plain <= limit or total > limit:
            raise FrameError(f"a batch claims to become {max(plain, total):,} bytes")
    return total


class _Table:
    """A table of a FlatBuffer: fields that may be missing, found by way of its vtable."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        (back,) = _unpack("<i", data, at)
        self._vtable = at - back
        (self._size,) = _unpack("<H", data, self._vtable)

    def _field(self, number: int) -> int | None:
        place = 4 + 2 * number  # after the sizes of the vtable and of the table
        if place + 2 > self._size:
            return None
        (offset,) = _unpack("<H", self._data, self._vtable + place)
        return self._at + offset if offset else None

    def number(self, field: int, form: str) -> int:
        """A scalar; 0, the default of all that are read here, if it is missing."""
        at = self._field(field)
        return 0 if at is None else int(_unpack(form, self._data, at)[0])

    def table(self, field: int) -> _Table | None:
        at = self._field(field)
        return None if at is None else _Table(self._data, at + _unpack("<I", self._data, at)[0])

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        at = self._field(field)
        if at is None:
            return []
        at += _unpack("<I", self._data, at)[0]
        (count,) = _unpack("<I", self._data, at)
        size = struct.calcsize(form)
        if count * size > len(self._data):
            raise FrameError("it is damaged (a list is longer than all of it)")
        return [_unpack(form, self._data, at + 4 + index * size) for index in range(count)]


def _root(data: bytes) -> _Table:
    return _Table(data, _unpack("<I", data, 0)[0])


def _unpack(form: str, data: bytes, at: int) -> tuple[int, ...]:
    if at < 0 or at + struct.calcsize(form) > len(data):
        raise FrameError("it is damaged (what it refers to lies outside of it)")
    return struct.unpack_from(form, data, at)
