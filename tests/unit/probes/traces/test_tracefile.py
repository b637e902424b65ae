"""Traces written and read back; what is wrong with a file is said in a line."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest

from nvscope.probes.traces import tracefile
from nvscope.probes.traces.events import DETAILS, KINDS, SCHEMA_VERSION, About, Event
from nvscope.probes.traces.tracefile import Reader, TraceError, Writer, columns_of, open_trace

ABOUT = About(kernel="7.3", revmap="maple", probes={"s2_fault": "fentry user_mem_abort"})
EVENTS = [
    Event("record", 1, 3, 4, "kswapd0", 1 << 63, 5, "vm", 2, 1 << 51, 0, 4096, "stored"),
    Event("map", 2, comm="qemu", result=-11, full=True, may_block=True, count=7, duration_ns=9),
]


def written(*batches: list[Event], about: About = ABOUT) -> bytes:
    stream = io.BytesIO()
    with Writer(stream, about) as writer:
        for batch in batches:
            writer.write(columns_of(batch))
    return stream.getvalue()


def test_what_is_written_is_read_back() -> None:
    reader = Reader(io.BytesIO(written(EVENTS, EVENTS[::-1])))
    assert reader.about == ABOUT
    assert list(reader.events()) == EVENTS + EVENTS[::-1]
    assert reader.complete


def test_large_batches_are_split() -> None:
    rows = EVENTS * tracefile.MAX_BATCH_ROWS
    reader = Reader(io.BytesIO(written(rows)))
    assert [b.num_rows for b in reader.batches()] == [tracefile.MAX_BATCH_ROWS] * 2


def test_every_prefix_is_readable_to_its_last_batch() -> None:
    whole = written(EVENTS, EVENTS)
    ends = []
    for length in range(0, len(whole), 8):
        try:
            reader = Reader(io.BytesIO(whole[:length]))
        except TraceError:
            assert not ends or ends[-1] == 0
            continue
        ends.append(sum(1 for _ in reader.batches()))
        assert not reader.complete
        assert reader.ending
    assert sorted(ends) == ends
    assert set(ends) == {0, 1, 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no Arrow stream"),
        (b"MZ" * 100, "no Arrow stream"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 64, "no Arrow stream"),
    ],
)
def test_what_is_no_trace(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=words) as raised, open_trace(path):
        pass
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def stream_of(schema: pa.Schema) -> io.BytesIO:
    stream = io.BytesIO()
    pa.ipc.new_stream(stream, schema).close()
    return io.BytesIO(stream.getvalue())


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (pa.schema([("a", pa.int8())]), "no trace of nvscope's"),
        (tracefile.SCHEMA.with_metadata({"nvscope": "{"}), "cannot be read"),
        (tracefile.SCHEMA.with_metadata({"nvscope": "[]"}), "cannot be read"),
        (tracefile.SCHEMA.with_metadata({"nvscope": '{"schema": 99}'}), "version 99"),
        (
            tracefile.SCHEMA.with_metadata({"nvscope": f'{{"schema": {SCHEMA_VERSION}, "x": 1}}'}),
            "cannot be read",
        ),
        (
            tracefile.SCHEMA.remove(0).with_metadata(
                {"nvscope": f'{{"schema": {SCHEMA_VERSION}}}'}
            ),
            "columns are not a trace's: kind",
        ),
    ],
)
def test_other_arrow_streams(schema: pa.Schema, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        Reader(stream_of(schema))


def test_a_missing_file() -> None:
    with pytest.raises(TraceError, match="No such file"), open_trace(Path("/nonexistent")):
        pass


def test_details_belong_to_kinds() -> None:
    assert DETAILS.keys() <= KINDS.keys()
