"""What traces say of themselves: nothing is believed, and all readers get the same of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nvscope.cli import main
from nvscope.probes.traces import about
from nvscope.probes.traces.about import ABOUT_KEY, AboutError, dumped, parsed
from nvscope.probes.traces.events import About
from nvscope.probes.traces.tracefile import SCHEMA, Reader, Writer, columns_of
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, booted

WHOLE = About(
    "7.3", "aarch64", "maple", "b007", 5, 7, {"s2_fault": "fentry user_mem_abort"}, "nvscope", "h"
)
NESTED = "[" * 100_000


def said(**values: Any) -> bytes:
    return json.dumps({"schema": 1} | values).encode()


def test_what_is_written_is_read_back() -> None:
    assert parsed(dumped(WHOLE)) == WHOLE
    assert parsed(dumped(About())) == About()
    assert parsed(said()) == About()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (said(boot_id=None), "cannot be read: boot_id is no text"),
        (said(boot_id=7), "boot_id is no text"),
        (said(revmap=["maple"]), "revmap is no text"),
        (said(kernel={"a": 1}), "kernel is no text"),
        (said(host=True), "host is no text"),
        (said(started_ns="5"), "started_ns is no time"),
        (said(started_ns=True), "started_ns is no time"),
        (said(started_unix_ns=1.5), "started_unix_ns is no time"),
        (said(points=["a"]), "points is no text"),
        (said(points_text={}), "points_text is no text"),
        (said(probes=["a"]), "probes are no probe points"),
        (said(probes={"a": None}), "a is no text"),
        (said(probes=dict.fromkeys(map(str, range(65)), "")), "probes are no probe points"),
        (said(**{"a\x1b[2J": 1}), r"a�\[2J is nothing that this nvscope knows"),
        (b'{"kernel": "x"}', "there is no version"),
        (said(schema=True), "there is no version"),
        (said(schema=1.0), "there is no version"),
        (said(schema=2), "version 2, not 1"),
        (NESTED.encode(), "nested too deep"),
        (f'{{"schema": 1, "host": {NESTED}'.encode(), "nested too deep"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"\xff\xfe\xfd", "no JSON"),
        (b"[]", "no object"),
        (b"null", "no object"),
        (b" " * (about.MAX_BYTES + 1), "it has 1,048,577 bytes"),
    ],
)
def test_what_is_not_believed(text: bytes, words: str) -> None:
    with pytest.raises(AboutError, match=words) as raised:
        parsed(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


def test_texts_are_shown_as_they_are_anywhere() -> None:
    found = parsed(
        b'{"schema": 1, "kernel": "\\ud800\\u001b[2J\\n\\u202e", "host": "%s"}' % (b"x" * 999)
    )
    assert found.kernel == "��[2J �"
    assert len(found.host) == about.MAX_TEXT


def test_a_points_file_keeps_its_lines() -> None:
    found = parsed(said(points_text="[revmap]\n# \x1b[2J\n" + "x" * (1 << 17)))
    assert found.points_text.startswith("[revmap]\n# �[2J\nxx")
    assert len(found.points_text) == about.MAX_LINES_TEXT


def test_times_that_no_clock_shows() -> None:
    found = parsed(said(started_ns=1 << 70, started_unix_ns=-1))
    assert (found.started_ns, found.started_unix_ns) == ((1 << 64) - 1, 0)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(About.__dataclass_fields__)), values))
@PROFILE
def test_any_types(found: dict[str, Any]) -> None:
    try:
        read = parsed(said(**found))
    except AboutError as error:
        assert str(error).isprintable()
    else:
        for key, value in vars(read).items():
            if isinstance(value, str):
                assert value.isprintable(), key
        assert isinstance(read.probes, dict | None)
        hash((read.revmap, read.boot_id, read.started_ns))


def arrows(metadata: bytes) -> bytes:
    kernel = booted()
    kernel.fault(VM, M1, PAGE, PAGE, PAGE)
    stream = io.BytesIO()
    with Writer(stream, About(revmap="maple")) as writer:
        writer.write(columns_of(kernel.events))
    table = Reader(io.BytesIO(stream.getvalue()))
    again = io.BytesIO()
    with pa.ipc.new_stream(again, SCHEMA.with_metadata({ABOUT_KEY: metadata})) as made:
        for batch in table.batches():
            made.write_batch(batch)
    return again.getvalue()


def parquet(metadata: bytes) -> bytes:
    table = pa.Table.from_batches(list(Reader(io.BytesIO(arrows(said()))).batches()))
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({ABOUT_KEY: metadata}), stream)
    return stream.getvalue()


@pytest.mark.parametrize("made", [arrows, parquet], ids=["arrows", "parquet"])
@pytest.mark.parametrize(
    "metadata",
    [
        said(boot_id=None),
        said(boot_id=7),
        said(revmap=["maple"]),
        said(kernel=5),
        NESTED.encode(),
        said(probes={"map": 3}),
    ],
    ids=range(6),
)
@pytest.mark.parametrize(
    "words",
    [
        ["validate", "in"],
        ["report", "in"],
        ["convert", "in", "out.json"],
        ["convert", "--partition", "in", "set"],
    ],
    ids=" ".join,
)
def test_every_command_says_so_in_a_line(
    words: list[str],
    metadata: bytes,
    made: Callable[[bytes], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_bytes(made(metadata))
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "what it says of itself cannot be read" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["in"]


@pytest.mark.parametrize("option", ["-j2", "--follow"])
def test_so_do_other_ways_of_judging(option: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(arrows(said(boot_id=None)))
    done = CliRunner().invoke(main, ["validate", option, str(tmp_path / "in")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "boot_id is no text" in done.stderr


@pytest.mark.parametrize("made", [arrows, parquet], ids=["arrows", "parquet"])
def test_a_hostile_kernel_reaches_no_terminal(
    made: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metadata = (
        b'{"schema": 1, "revmap": "maple", "kernel": "\\ud800\\u001b[2J", "boot_id": "\\ud800"}'
    )
    Path("in").write_bytes(made(metadata))
    for words in (
        ["validate", "in"],
        ["validate", "--format", "junit", "in"],
        ["report", "in"],
        ["convert", "in", "out.json"],
        ["convert", "--partition", "in", "set"],
    ):
        done = CliRunner().invoke(main, words)
        assert done.exit_code in (0, 3), done.stderr
        assert "\x1b" not in done.output
    assert "\x1b" not in Path("in.html").read_text(encoding="utf-8")
