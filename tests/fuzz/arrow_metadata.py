"""Traces and Parquet files that are damaged or lie, through validate, report and convert.

What they say of themselves is JSON of any types; their bytes are altered, cut, and joined with
those of others. Expected is what a good file gives, or one line and exit code 2 or 3.
"""

from __future__ import annotations

import functools
import gc
import io
import json
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from hypothesis import strategies as st

from nvscope.analysis.interop.files.parquet import ENDING_KEY
from nvscope.cli import main
from nvscope.probes.traces.about import ABOUT_KEY
from nvscope.probes.traces.events import SCHEMA_VERSION, About

_SAMPLES = Path(__file__).resolve().parents[2] / "analysis/samples"
_NAMES = ("recycling.arrows", "stock.arrows", "bugs/lost-record.arrows")


@dataclass(frozen=True)
class Example:
    """A file: its name's ending, and what is in it."""

    ending: str
    content: bytes


@functools.cache
def _trace(number: int) -> bytes:
    return (_SAMPLES / _NAMES[number]).read_bytes()


@functools.cache
def _table(number: int) -> pa.Table:
    return pa.ipc.open_stream(_trace(number)).read_all()


@functools.cache
def _parquet(number: int) -> bytes:
    return _as_parquet(_table(number).schema.metadata[ABOUT_KEY], b"", number)


def _as_parquet(said: bytes, ending: bytes, number: int = 0) -> bytes:
    stream = io.BytesIO()
    metadata = {ABOUT_KEY: said, ENDING_KEY: ending}
    pq.write_table(_table(number).replace_schema_metadata(metadata), stream, compression="zstd")
    return stream.getvalue()


def _as_stream(said: bytes, _: bytes) -> bytes:
    stream = io.BytesIO()
    table = _table(0).replace_schema_metadata({ABOUT_KEY: said})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


# Metadata.

_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["\x1b[2J\n\0", "\ud800", "=1+1", "<b>", "maple", "none", "x" * 5000, "../.."]),
)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_KEYS = ["schema", *(field.name for field in fields(About)), "other"]
_objects = st.dictionaries(st.sampled_from(_KEYS), _anything | _texts, max_size=4).map(
    lambda said: json.dumps({"schema": SCHEMA_VERSION} | said).encode()
)
_said = st.one_of(
    _objects,
    _objects,
    st.binary(max_size=60),
    _anything.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"[" * 50_000, b'{"schema":' * 3000, b'{"schema": ' + b"9" * 5000 + b"}"]),
)
_described = st.builds(
    lambda is_parquet, said, ending: (
        Example(".parquet", _as_parquet(said, ending))
        if is_parquet
        else Example(".arrows", _as_stream(said, ending))
    ),
    st.booleans(),
    _said,
    st.binary(max_size=30) | _texts.map(lambda text: text.encode("utf-8", "replace")),
)

# Bytes.

_number = st.integers(0, len(_NAMES) - 1)
_whole = st.builds(_trace, _number) | st.builds(_parquet, _number)
_interesting = st.sampled_from(
    [b"", b"\0", b"\xff", b"\x7f", b"\xff\xff\xff\x7f", b"\0" * 8, b"PAR1", b"\xff" * 8]
)


@st.composite
def _altered(draw: st.DrawFn) -> Example:
    content = bytearray(draw(_whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 1, 4, 8, 300]))
        content[at : at + length] = draw(_interesting | st.binary(max_size=8))
    how = draw(st.sampled_from(["as it is", "cut", "joined", "more", "middle"]))
    if how == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    elif how == "joined":
        content += draw(_whole)
    elif how == "more":
        content += draw(st.binary(min_size=1, max_size=40))
    elif how == "middle":  # of Parquet the end stays where it is looked for
        at = draw(st.integers(0, len(content)))
        content[at:at] = content[: draw(st.integers(0, 2000))]
    return Example(draw(st.sampled_from([".arrows", ".parquet", ""])), bytes(content))


EXAMPLES: st.SearchStrategy[Example] = _described | _altered() | _altered()


def attempt(example: Example) -> None:
    """Run one through the commands. Raises AssertionError."""
    with tempfile.TemporaryDirectory(prefix="nvscope-fuzz-") as folder:
        path = Path(folder) / f"in{example.ending}"
        path.write_bytes(example.content)
        commands = [
            ["validate", path],
            ["validate", "--format", "junit", path],
            ["report", path, "-o", path.with_name("out.html")],
            ["convert", path, path.with_name("out.json")],
            ["convert", path, path.with_name("out.parquet")],
            ["convert", "--partition", path, path.with_name("set")],
        ]
        for command in commands:
            _check([str(word) for word in command])


def _check(words: list[str]) -> None:
    unraised: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, unraised.append
    try:
        done = CliRunner().invoke(main, words)
        gc.collect(0)
    finally:
        sys.unraisablehook = before
    assert isinstance(done.exception, SystemExit | None), (words, done.exception)
    assert not unraised, (words, unraised)
    _check_words(words, done)


def _check_words(words: list[str], done: Result) -> None:
    assert done.exit_code in (0, 1, 2, 3), (words, done.stderr)
    assert done.exit_code != 1 or words[0] == "validate", (words, done.stderr)
    lines = done.stderr.splitlines()
    assert all(line.isprintable() for line in lines), (words, done.stderr)
    if done.exit_code == 2:
        assert len(lines) == 1, (words, done.stderr)
        assert lines[0].startswith(("Error: ", "nvscope: ")), (words, done.stderr)
