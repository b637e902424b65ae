"""Files that are something else: each is named in a line, with the way on, by every command."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from nvscope.analysis.validate.jobs.follow import Growing
from nvscope.cli import main
from nvscope.probes.traces.filetypes import foreign
from nvscope.probes.traces.tracefile import Reader, TraceError
from tests.unit.analysis.interop.recorded import HEADER, events, ftrace
from tests.unit.analysis.traces import booted, written

TRACE = written(booted().events)
TEXT = ftrace(events()).encode()


def arrow_file() -> bytes:
    stream = io.BytesIO()
    table = pa.ipc.open_stream(TRACE).read_all()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


HOST_ADDRESSES = (
    b"# tracer: nop\n   kswapd0-40 [000] d..1. 1.000010: kvm_unmap_hva_range: mmu notifier unmap"
    b" range: 0xffff80000000 -- 0xffff80001000\n"
)
FOREIGN = {
    "gzip": (gzip.compress(TRACE), "compressed by gzip: unpack it first (`zcat FILE > OUT`)"),
    "zstd": (b"\x28\xb5\x2f\xfd" + TRACE, "compressed by zstd: unpack it first (`zstdcat"),
    "xz": (lzma.compress(TRACE), "compressed by xz: unpack it first (`xzcat"),
    "bzip2": (bz2.compress(TRACE), "compressed by bzip2: unpack it first (`bzcat"),
    "arrow": (arrow_file(), "an Arrow IPC file, and no stream: write it as one"),
    "feather": (b"FEA1" + bytes(99), "Feather of version 1"),
    "lfs": (b"version https://git-lfs.example/spec/v1\noid sha256:4d\nsize 5\n", "`git lfs pull`"),
    "html": (b"\n<!DOCTYPE html><html>", "this is a web page"),
    "perf": (b"PERFILE2h\0\0\0\0\0\0\0", "perf's own recording: `perf script -i"),
    "trace-cmd": (b"\x17\x08Dtracing6\0", "trace-cmd's own recording: `trace-cmd report"),
    "utf-16": (TEXT.decode().encode("utf-16"), "a text in UTF-16: `iconv -f UTF-16"),
    "utf-16-be": (codecs.BOM_UTF16_BE + TEXT.decode().encode("utf-16-be"), "a text in UTF-16"),
    "json": (b'{"traceEvents": []}', "this is JSON"),
    "encrypted": (b"PARE" + bytes(40), "an encrypted Parquet file"),
    "zeros": (bytes(4096), "nothing but zeros"),
    "empty": (b"", "it is empty"),
    "short": (TRACE[:7], "or not even its head: it has 7 bytes"),
    "head": (TRACE[:100], "or not even its head: it has 100 bytes"),
    "words": (b"all kinds of words\n", "a text without an event of ftrace's or perf's"),
    "hva": (HOST_ADDRESSES, "1 kvm_unmap_hva_range has host virtual addresses only; `nvscope conv"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize(
    "words",
    [["validate", "in"], ["report", "in"], ["convert", "in", "out.arrows"]],
    ids=" ".join,
)
def test_what_it_is_is_said(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, told = FOREIGN[name]
    monkeypatch.chdir(tmp_path)
    Path("in").write_bytes(content)
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr
    assert [path.name for path in Path().iterdir()] == ["in"]


@pytest.mark.parametrize("name", FOREIGN)
def test_of_a_pipe_it_is_said_too(name: str, tmp_path: Path) -> None:
    content, told = FOREIGN[name]
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[content])
    writer.start()
    done = CliRunner().invoke(main, ["validate", str(tmp_path / "pipe")])
    writer.join()
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_a_folder(tmp_path: Path) -> None:
    for words in (["report", "."], ["convert", ".", "x"], ["report", ".."], ["report", "/"]):
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "this is a folder" in done.stderr
    done = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert "it is a folder, and no data set" in done.stderr


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["validate", LONG],
        ["validate", "in", "-o", LONG],
        ["report", LONG],
        ["report", "in", "-o", LONG],
        ["convert", LONG, "out"],
        ["convert", "in", LONG],
        ["convert", "--partition", "in", LONG],
    ],
    ids=lambda words: " ".join(words).replace(LONG, "LONG"),
)
def test_names_that_are_too_long(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_bytes(TRACE)
    done = CliRunner().invoke(main, words)
    assert done.exit_code in (2, 3)
    assert done.stderr.count("\n") == 1
    assert "File name too long" in done.stderr


def test_a_mark_of_byte_order_is_no_matter(tmp_path: Path) -> None:
    plain, marked = tmp_path / "a.txt", tmp_path / "b.txt"
    text = HEADER.encode() + TEXT
    plain.write_bytes(text)
    marked.write_bytes(codecs.BOM_UTF8 + text)
    one, other = (CliRunner().invoke(main, ["validate", str(path)]) for path in (plain, marked))
    assert one.exit_code in (0, 3)
    assert one.stdout.replace("a.txt", "b.txt") == other.stdout
    assert "7.3.4" in other.stdout


def test_what_is_followed_is_told_by_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"PAR1\x15\0\x15\0")

    def wait(_: float) -> None:
        raise AssertionError("it would wait without end")

    with (tmp_path / "in").open("rb") as stream, pytest.raises(TraceError, match="cannot be foll"):
        Reader(Growing(stream, wait))  # type: ignore[arg-type]


def test_texts_are_not_taken_for_something_else() -> None:
    """What trace-cmd begins with, and a task's name that is a magic number."""
    for text in (b"version = 6\ncpus=4\n", b"cpus=2\n", TEXT, b"# tracer: nop\n"):
        assert foreign(text) == ""
