"""Files that lie: whatever they claim, it is one line, and memory stays bounded."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.probes.traces import ipcframes, tracefile
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.ipcframes import Frames
from nvscope.probes.traces.tracefile import Reader, TraceError, Writer, columns_of
from tests.unit.analysis_profiles import PROFILE

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


def read(content: bytes) -> tuple[int, bool]:
    """How many rows there are, and whether it is whole. Raises TraceError."""
    reader = Reader(io.BytesIO(content))
    rows = sum(batch.num_rows for batch in reader.batches())
    return rows, reader.complete


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


def test_the_frames_of_a_trace_are_as_arrow_wrote_them() -> None:
    content, taken = trace(), io.BytesIO()
    stream = Frames(io.BytesIO(content))
    while data := stream.read(100):
        taken.write(data)
    assert taken.getvalue() == content
    assert stream.ended


def test_every_prefix_is_read_or_refused_in_a_line() -> None:
    content = trace()
    for length in range(0, len(content), 3):
        try:
            rows, complete = read(content[:length])
        except TraceError as error:
            assert "\n" not in str(error)
        else:
            assert rows in (0, 40, 80)
            assert not complete


@given(st.data())
@PROFILE
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(TRACE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        rows, _ = read(bytes(content))
    except TraceError as error:
        assert "\n" not in str(error)
    else:
        assert rows <= 80


TRACE = trace()


@given(st.binary(max_size=300))
@PROFILE
def test_no_bytes_crash_it(content: bytes) -> None:
    with pytest.raises(TraceError):
        read(content)
    lead = struct.pack("<II", 0xFFFFFFFF, len(content))
    with pytest.raises(TraceError):
        read(lead + content)


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


@pytest.mark.parametrize(("lie", "words"), LIES)
def test_lies_about_sizes(lie: Callable[[], bytes], words: str) -> None:
    with pytest.raises(TraceError, match=words):
        read(lie())


def test_a_bomb_of_few_rows() -> None:
    """Each buffer may be as large as a body, and all of them together no larger."""
    total = sum(size for _, _, size in batch_buffers(TRACE))
    assert total < ipcframes.MAX_BODY_BYTES
    content = TRACE
    for _, place, size in batch_buffers(TRACE):
        if size > 8:
            content = patched(content, place, "<q", ipcframes.MAX_BODY_BYTES // 2)
    with pytest.raises(TraceError, match="claims to become"):
        read(content)


def test_dictionaries_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    with Writer(stream, About()) as writer:
        for number in range(20):
            writer.write(columns_of([Event("map", comm=f"task{n}") for n in range(number + 1)]))
    assert read(stream.getvalue()) == (210, True)
    monkeypatch.setattr(ipcframes, "MAX_WORDS", 12)
    with pytest.raises(TraceError, match="13 different words"):
        read(stream.getvalue())


def test_joined_traces_of_a_file_that_grows() -> None:
    """Behind the end nothing is waited for."""

    class Growing(io.BytesIO):
        def read_now(self, size: int) -> bytes:
            return super().read(size)

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            assert len(data) == size, "it would wait without end"
            return data

    def rows(content: bytes) -> int:
        return sum(b.num_rows for b in Reader(Growing(content)).batches())

    assert rows(TRACE) == 80
    with pytest.raises(TraceError, match="another trace begins"):
        rows(TRACE + TRACE)


def test_long_words_are_cut() -> None:
    """Parquet may have to write them out for each row."""
    reader = Reader(io.BytesIO(with_column("vm", words("é" * 5000, "db"))))
    (batch,) = reader.batches()
    assert batch["vm"].to_pylist()[:2] == ["é" * tracefile.MAX_WORD, "db"]
    assert batch.schema == tracefile.SCHEMA


def test_columns_that_are_never_null_are_as_good() -> None:
    schema = pa.schema([field.with_nullable(False) for field in tracefile.SCHEMA])
    (batch, *_) = Reader(io.BytesIO(TRACE)).batches()
    content = with_batches(pa.record_batch(batch.columns, schema=schema), schema=schema)
    (again,) = Reader(io.BytesIO(content)).batches()
    assert again.equals(batch)
    assert again.schema == tracefile.SCHEMA


def test_text_that_is_no_text() -> None:
    at = TRACE.find(b"kswapd0")
    with pytest.raises(TraceError, match="a batch is damaged"):
        read(patched(TRACE, at, "<B", 0xFF))


def test_a_folder_and_a_device(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(TraceError), tracefile.open_trace(path):
            pass
