"""Traces that lie about what is in them."""

from __future__ import annotations

import io
import struct

import pyarrow as pa

from nvscope.probes.traces import ipcframes, tracefile
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Reader, Writer, columns_of

EVENTS = [
    Event("notifier_begin", 1, 3, 4, "kswapd0", 1 << 63, 5, "vm", 2, 1 << 51, 0, 4096),
    Event("map", 2, comm="qemu", size=4096, result=-11, full=True, count=7, duration_ns=9),
] * 20


def trace() -> bytes:
    stream = io.BytesIO()
    with Writer(stream, About()) as writer:
        writer.write(columns_of(EVENTS))
        writer.write(columns_of(EVENTS))
    return stream.getvalue()


def frames(content: bytes) -> list[tuple[int, int]]:
    """Where each message is, and its metadata's length."""
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at + 4)
        found.append((at, length))
        if length == 0:
            break
        message = ipcframes._root(content[at + 8 : at + 8 + length])
        at += 8 + length + message.number(3, "<q")
    return found


def batch_buffers(content: bytes) -> list[tuple[int, int, int]]:
    """Of the first batch: where each buffer's description is, its place in the body, its length."""
    for at, length in frames(content):
        metadata = content[at + 8 : at + 8 + length]
        message = ipcframes._root(metadata)
        if message.number(1, "<B") == 3:
            header = message.table(2)
            assert header is not None
            field = header._field(2)
            assert field is not None
            vector = field + struct.unpack_from("<I", metadata, field)[0] + 4
            body = at + 8 + length
            return [
                (at + 8 + vector + 16 * index, body + offset, size)
                for index, (offset, size) in enumerate(header.structs(2, "<qq"))
            ]
    raise AssertionError("there is no batch")


def patched(content: bytes, at: int, form: str, value: int) -> bytes:
    new = bytearray(content)
    struct.pack_into(form, new, at, value)
    return bytes(new)


TRACE = trace()


def claims_long_metadata() -> bytes:
    return patched(TRACE, 4, "<I", 0x7FFFFFF0)


def claims_long_body() -> bytes:
    at, length = frames(TRACE)[-2]
    metadata = TRACE[at + 8 : at + 8 + length]
    field = ipcframes._root(metadata)._field(3)
    assert field is not None
    return patched(TRACE, at + 8 + field, "<q", 1 << 40)


def claims_many_rows() -> bytes:
    at, length = frames(TRACE)[-2]
    metadata = TRACE[at + 8 : at + 8 + length]
    header = ipcframes._root(metadata).table(2)
    assert header is not None
    field = header._field(0)
    assert field is not None
    return patched(TRACE, at + 8 + field, "<q", 1 << 40)


def claims_to_become_large() -> bytes:
    """A compressed buffer says how long it will be."""
    _, place, _ = next(b for b in batch_buffers(TRACE) if b[2] > 8)
    return patched(TRACE, place, "<q", 1 << 33)


def claims_to_become_negative() -> bytes:
    _, place, _ = next(b for b in batch_buffers(TRACE) if b[2] > 8)
    return patched(TRACE, place, "<q", -2)


def buffer_outside() -> bytes:
    described, _, _ = batch_buffers(TRACE)[-1]
    return patched(TRACE, described, "<q", 1 << 30)


def really_large() -> bytes:
    """A bomb: some KiB that become 100 MiB."""
    rows = 1 << 20
    arrays = [
        pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int16()).fill_null(0), pa.array(["x"]))
        if pa.types.is_dictionary(field.type)
        else pa.repeat(pa.scalar(0, field.type), rows)
        if not pa.types.is_boolean(field.type)
        else pa.repeat(pa.scalar(False), rows)
        for field in tracefile.SCHEMA
    ]
    stream = io.BytesIO()
    schema = pa.ipc.open_stream(TRACE).schema
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(stream, schema, options=options) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=tracefile.SCHEMA))
    assert len(stream.getvalue()) < 1 << 16
    return stream.getvalue()


def with_batches(*batches: pa.RecordBatch, schema: pa.Schema = tracefile.SCHEMA) -> bytes:
    """A trace by Arrow's own writer, whatever is in it."""
    said = pa.ipc.open_stream(TRACE).schema.metadata
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, schema.with_metadata(said)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return stream.getvalue()


def with_column(name: str, values: pa.Array) -> bytes:
    (batch, *_) = Reader(io.BytesIO(TRACE)).batches()
    at = batch.schema.get_field_index(name)
    return with_batches(batch.set_column(at, batch.schema.field(at), values))


def words(*each: str | None) -> pa.DictionaryArray:
    numbers = pa.array([n % len(each) for n in range(len(EVENTS))], pa.int16())
    return pa.DictionaryArray.from_arrays(numbers, pa.array(each, pa.string()))


def joined() -> bytes:
    return TRACE + TRACE


LIES = [
    (claims_long_metadata, "no Arrow stream"),
    (claims_long_body, "claims to have 1,099,511,627,776 bytes"),
    (claims_many_rows, "claims to have 1,099,511,627,776 rows"),
    (claims_to_become_large, "claims to become 8,589,934,592 bytes"),
    (claims_to_become_negative, "claims to become"),
    (buffer_outside, "lies outside"),
    (really_large, "claims to have 1,048,576 rows"),
    (joined, f"another trace begins after its end, at byte {len(TRACE):,}"),
    (lambda: TRACE + b"\0", f"it goes on after its end, at byte {len(TRACE):,}, with what is no"),
    (lambda: TRACE + TRACE[:3], "it goes on after its end"),
    (lambda: with_column("vm", words("a", None)), "a word is missing"),
]
