"""Parquet files that lie about sizes: one line, and memory that is bounded by what is believed."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.interop.files import pages, thrift
from nvscope.analysis.interop.files.pages import Footer, PageError
from nvscope.analysis.interop.files.parquet import ParquetSource, said_of
from nvscope.analysis.interop.files.thrift import Cursor, ThriftError
from nvscope.probes.traces import tracefile
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import SCHEMA, TraceError, columns_of, events
from tests.unit.analysis.peak import peak
from tests.unit.analysis.profiles import PROFILE

COLUMNS = [pages.Column(name) for name in SCHEMA.names]
SAID = said_of(About(revmap="none")) | {b"nvscope.ending": b""}


def table(rows: int, word: str = "vm") -> pa.Table:
    """All rows alike: as small in a file as can be."""

    def column(field: pa.Field) -> pa.Array:
        if pa.types.is_dictionary(field.type):
            words = {"kind": "fault", "detail": "", "comm": "c"}
            numbers = pa.array(np.zeros(rows, np.int16))
            return pa.DictionaryArray.from_arrays(numbers, pa.array([words.get(field.name, word)]))
        return pa.array(np.zeros(rows, field.type.to_pandas_dtype()), field.type)

    return pa.table([column(field) for field in SCHEMA], schema=SCHEMA.with_metadata(SAID))


def file(rows: pa.Table, **how: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(rows, stream, **{"compression": "zstd", "row_group_size": 1 << 30} | how)
    return stream.getvalue()


def as_other_tools_write(rows: pa.Table, **how: Any) -> bytes:
    """Words as plain strings, and no schema of Arrow's."""
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in SCHEMA
    ]
    stream = io.BytesIO()
    with pq.ParquetWriter(
        stream, pa.schema(fields), store_schema=False, compression="zstd", **how
    ) as made:
        made.write_table(rows.cast(pa.schema(fields)), row_group_size=1 << 30)
        made.add_key_value_metadata({key.decode(): value.decode() for key, value in SAID.items()})
    return stream.getvalue()


def one_page(word: str, rows: int, **how: Any) -> bytes:
    how = {
        "data_page_size": 1 << 30,
        "write_batch_size": 1 << 20,
        "max_rows_per_page": 1 << 30,
    } | how
    return as_other_tools_write(table(rows, word), use_dictionary=False, **how)


def read(path: Path) -> int:
    source = ParquetSource(path)
    try:
        return sum(batch.num_rows for batch in source.batches())
    finally:
        source.close()


LIES: list[tuple[Callable[[], bytes], str]] = [
    (lambda: file(table(1000, "x" * (30 << 20))), "a page of vm claims to have 31,457,284 bytes"),
    (lambda: one_page("x" * (1 << 12), 1 << 16), "a page of vm claims to have 268,697,608 bytes"),
    (
        lambda: one_page("x" * 999, 9, column_encoding={"vm": "DELTA_BYTE_ARRAY"}),
        r"vm is encoded in a way that is not read here \(number 7",
    ),
    (
        lambda: one_page("x", 9, column_encoding={"vm": "DELTA_LENGTH_BYTE_ARRAY"}),
        r"vm is encoded in a way that is not read here \(number 6",
    ),
    (
        lambda: one_page("x", 9, column_encoding={"time_ns": "DELTA_BINARY_PACKED"}),
        r"time_ns is encoded in a way that is not read here \(number 5",
    ),
    (lambda: file(table((1 << 20) + 1)), "a row group claims to have 1,048,577 rows: write it"),
    (
        lambda: one_page("x" * (1 << 12), 1 << 13, data_page_size=1 << 20, write_batch_size=64),
        "the column vm claims to become",
    ),
]


@pytest.mark.parametrize(("lie", "words"), LIES, ids=range(len(LIES)))
def test_lies_about_sizes(lie: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(lie())
    with pytest.raises(TraceError, match=words) as raised:
        read(tmp_path / "in")
    assert "\n" not in str(raised.value)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """6 KiB that were 3.5 GiB: a long word in each of many rows."""
    path = tmp_path / "in.parquet"
    path.write_bytes(file(table(9)))
    usual, _, _ = peak(path)
    for content in (
        as_other_tools_write(table(60_000, "x" * (1 << 15))),
        file(table(2000, "x" * (30 << 20))),
    ):
        path.write_bytes(content)
        kib, code, said = peak(path)
        assert code in (2, 3), said
        assert said.count("\n") == (code == 2)
        assert kib < usual + (160 << 10)


def test_joined_files_are_refused(tmp_path: Path) -> None:
    """By the offsets of the second, the first was read, and all was well."""
    small, large = file(table(9)), file(table(5000), row_group_size=1000)
    for content in (small + small, large + large, small + large, large + small, small * 3):
        (tmp_path / "in").write_bytes(content)
        with pytest.raises(TraceError):
            read(tmp_path / "in")
    (tmp_path / "in").write_bytes(large + large)
    with pytest.raises(TraceError, match="files were joined in it, which cannot be read"):
        read(tmp_path / "in")


def test_what_other_tools_write_is_read(tmp_path: Path) -> None:
    rows = [Event("fault", n, comm=f"task{n % 7}", vm="vm", count=n) for n in range(1000)]
    columns = columns_of(rows)
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    there = pa.table(arrays, schema=SCHEMA)
    for how in (
        {},
        {"use_dictionary": False},
        {"data_page_version": "2.0"},
        {"compression": "snappy"},
        {"compression": "none"},
        {"write_page_index": True},
        {"use_byte_stream_split": ["time_ns"], "use_dictionary": ["kind"]},
    ):
        stream, made = io.BytesIO(), there.replace_schema_metadata(SAID)
        pq.write_table(made, stream, row_group_size=300, **{"compression": "zstd"} | how)
        (tmp_path / "in").write_bytes(stream.getvalue())
        source = ParquetSource(tmp_path / "in")
        assert [row for batch in source.batches() for row in events(batch)] == rows, how
        source.close()


def test_long_words_are_cut(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(file(table(9, "é" * 5000)))
    source = ParquetSource(tmp_path / "in")
    (batch,) = source.batches()
    assert batch["vm"][8].as_py() == "é" * tracefile.MAX_WORD
    source.close()


def footer_of(content: bytes) -> tuple[int, bytes]:
    """Where it begins, and what it is."""
    (length,) = struct.unpack("<I", content[-8:-4])
    return len(content) - 8 - length, content[-8 - length : -8]


def with_footer(footer: bytes) -> io.BytesIO:
    return io.BytesIO(b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1")


def field(number: int, kind: int) -> bytes:
    return bytes([number << 4 | kind])


def long_list(kind: int, count: int) -> bytes:
    head = bytearray([0xF0 | kind])
    while count >= 0x80:
        head.append(count & 0x7F | 0x80)
        count >>= 7
    return bytes([*head, count])


def group(columns: int) -> bytes:
    return field(1, thrift.LIST) + long_list(thrift.STRUCT, columns) + bytes(columns) + b"\0"


@pytest.mark.parametrize(
    ("footer", "words"),
    [
        (field(4, thrift.LIST) + long_list(thrift.STRUCT, 9000) + group(1) * 9000 + b"\0",
         "9,000 row groups"),
        (field(4, thrift.LIST) + long_list(thrift.STRUCT, 2) + group(18) + group(5000) + b"\0",
         "a row group claims to have 5,000 columns"),
        (field(2, thrift.LIST) + long_list(thrift.STRUCT, 99) + bytes(99) + b"\0",
         "no trace of nvscope's"),
        (field(4, thrift.LIST) + long_list(thrift.STRUCT, 1 << 60), "a list is longer"),
        (field(1, thrift.STRUCT) * 100_000, "nested too deep"),
        (field(1, thrift.BINARY) + b"\xff\xff\xff\xff\x0f", "it is cut off"),
        (field(1, thrift.I64) + b"\xff" * 20, "a number is too long"),
        (field(1, thrift.MAP) + b"\0\0", "unknown type 11"),
        (field(4, thrift.LIST) + long_list(thrift.I32, 1) + b"\0", "a row group is none"),
        (b"", "it is cut off"),
    ],
    ids=range(10),
)  # fmt: skip
def test_footers_that_lie(footer: bytes, words: str) -> None:
    with pytest.raises(PageError, match=words):
        Footer(with_footer(footer), COLUMNS)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1PAR1", b"PAR1" + b"\xff\xff\xff\x7fPAR1", b"x" * 99, b"PAR1\0\0\0\0PARE"],
)
def test_what_is_no_parquet(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(PageError, match="this is no Parquet file"):
        Footer(io.BytesIO(content), COLUMNS)


def test_a_damaged_histogram_does_not_end_the_process(tmp_path: Path) -> None:
    """Arrow's object for a column calls std::terminate() for a bad one; it is not asked for any."""
    content = file(table(9))
    start, footer = footer_of(content)
    # SizeStatistics' list of two numbers: of levels 0 and 1. One of them is taken out.
    lists = [at for at in range(len(footer)) if footer[at : at + 2] == bytes([0x19, 0x26])]
    assert len(lists) == len(SCHEMA)
    for at in lists:
        damaged = footer[: at + 1] + bytes([0x16]) + footer[at + 3 :]
        length = struct.pack("<I", len(damaged))
        (tmp_path / "in").write_bytes(content[:start] + damaged + length + b"PAR1")
        with pytest.raises(TraceError, match="histogram"):
            read(tmp_path / "in")


@given(st.binary(max_size=200))
@PROFILE
def test_no_bytes_crash_the_cursor(data: bytes) -> None:
    for walk in (lambda c: c.skip(thrift.STRUCT), lambda c: list(walked(c))):
        try:
            walk(Cursor(data))
        except ThriftError as error:
            assert str(error).isprintable()


def walked(cursor: Cursor) -> Iterator[int]:
    for number, kind in cursor.fields():
        cursor.skip(kind)
        yield number


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_are_zigzag(value: int) -> None:
    number, data = value << 1 if value >= 0 else (-value << 1) - 1, bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    assert Cursor(bytes([*data, number])).integer() == value


def test_skipping_goes_as_far_as_reading() -> None:
    """The fast way and the plain one, of real footers."""
    _, footer = footer_of(file(table(1000), row_group_size=100))
    skipped, read_ = Cursor(footer), Cursor(footer)
    skipped.skip(thrift.STRUCT)
    assert list(walked(read_))
    assert skipped.at == read_.at == len(footer)
