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
from tests.unit.analysis.profiles import PROFILE
from tests.unit.probes.traces.lies import (
    LIES,
    TRACE,
    batch_buffers,
    patched,
    trace,
    with_batches,
    with_column,
    words,
)


def read(content: bytes) -> tuple[int, bool]:
    """How many rows there are, and whether it is whole. Raises TraceError."""
    reader = Reader(io.BytesIO(content))
    rows = sum(batch.num_rows for batch in reader.batches())
    return rows, reader.complete


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


@given(st.binary(max_size=300))
@PROFILE
def test_no_bytes_crash_it(content: bytes) -> None:
    with pytest.raises(TraceError):
        read(content)
    lead = struct.pack("<II", 0xFFFFFFFF, len(content))
    with pytest.raises(TraceError):
        read(lead + content)


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
