"""Recordings of ftrace, trace-cmd and perf: known ones cut and mixed, generated lines, and noise.

Each is converted, and both the text and the trace are judged. What is said of losses has to hold:
where a line was not understood, nothing passes.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner, Result
from hypothesis import strategies as st

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.interop.texts.wanted import EVENTS
from nvscope.analysis.judging.findings import PASS
from nvscope.analysis.validate.jobs.run import validate
from tests.unit.analysis.interop import recorded as texts

NOT_UNDERSTOOD = "lines were not understood"


@dataclass(frozen=True)
class Example:
    """A text; source_format: what it is said to be, "" where its content has to tell."""

    text: bytes
    source_format: str


_LINES = [
    *("CPU:1 [LOST 12 EVENTS]", "CPU:0 [LOST EVENTS]", "CPU:7 [45 EVENTS DROPPED]"),
    *("[LOST 3 events]", "##### CPU 1 buffer started ####", "# tracer: nop", "", "#", "cpus=2"),
    *(
        "# entries-in-buffer/entries-written: 31/37   #P:2",
        "CPU 3 is empty",
        " => f",
        "what is this",
    ),
    "# entries-in-buffer/entries-written: 999999999999999999/0",
    "            perf   123 [000]     1.000050000: PERF_RECORD_LOST lost 9",
    "             :-1    -1 [001]     0.000000: PERF_RECORD_LOST_SAMPLES lost 8",
    "  map_end                                                  7               3",
    "  p_other_0                                                1               5",
    texts.HEADER.rstrip("\n"),
    *('# nvscope: {"offsets": {"arch": -1}, "words": []}', "# nvscope: " + "[" * 999),
    "   kworker/0:1-12   [000] .....     1.000001: <stack trace>",
]
# What a text is full of, in a line as long as one is read.
_RUNS = [
    " ",
    ":",
    "1",
    "[",
    "]",
    "-",
    "a",
    "=",
    "a=1 ",
    "1 ",
    "-1 [0] ",
    "[0] 1.000000: ",
    "\t",
    "é",
]
_NAMES = (
    *("kvm", "pid", "mmu", "arch", "start", "end", "size", "vtcr", "may_block", "ipa", "nested"),
    *("output", "addr", "canonical", "reason", "result", "full", "mmus"),
)
_numbers = st.sampled_from((0, 1, -1, 4096, texts.KVM, texts.ARCH, texts.MMU, texts.FULL)) | (
    st.integers(-(1 << 64), 1 << 66)
)
_values = st.one_of(
    _numbers.map(hex), _numbers.map(str), st.sampled_from(("(fault)", "", "store", "12ab", "0x"))
)
_comms = st.sampled_from(("CPU 0/KVM", ":-1", "a-1 [000]", "-", "1 2", "CPU:1 [EVENTS]")) | (
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=15)
)
_lines = st.builds(
    texts.Line,
    comm=_comms,
    tid=st.sampled_from((0, -1, 40, 70, 71)) | st.integers(-(1 << 40), 1 << 40),
    cpu=st.integers(0, 3) | st.integers(0, 1 << 20),
    time_us=st.integers(1_000_000, 1_000_400) | st.integers(0, 1 << 60),
    event=st.sampled_from(sorted(EVENTS)) | st.text(max_size=12),
    values=st.dictionaries(st.sampled_from(_NAMES), _values, max_size=9).map(
        lambda said: " ".join(f"{name}={value}" for name, value in said.items())
    ),
)
_known = st.just(texts.events())
_shifted = st.tuples(st.sampled_from(texts.events()), st.integers(-50, 50)).map(
    lambda chosen: replace(chosen[0], time_us=chosen[0].time_us + chosen[1])
)
_recordings = st.builds(
    lambda lines, tool: texts.TOOLS[tool](lines).splitlines(),
    _known | st.lists(_shifted | _lines, max_size=40),
    st.sampled_from(sorted(texts.TOOLS)),
)
_others = (
    st.sampled_from(_LINES)
    | st.text(max_size=80)
    | (st.sampled_from(_RUNS).map(lambda run: (run * 4096)[:4095]))
)
_line_edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), _others), max_size=6)
_byte_edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=5)), max_size=4
)


def _text(
    headed: bool,
    lines: list[str],
    line_edits: list[tuple[float, int, str]],
    byte_edits: list[tuple[float, int, bytes]],
) -> bytes:
    """Each edit: where, as a part of the length; how much goes there, and what comes."""
    for where, gone, come in line_edits:
        at = int(where * len(lines))
        lines = [*lines[:at], come, *lines[at + gone :]]
    said = (texts.HEADER if headed else "") + "".join(f"{line}\n" for line in lines)
    text = said.encode("utf-8", "replace")
    for where, cut, insert in byte_edits:
        at = int(where * len(text))
        text = text[:at] + insert + text[at + cut :]
    return text


EXAMPLES: st.SearchStrategy[Example] = st.builds(
    Example,
    st.builds(_text, st.booleans(), _recordings, _line_edits, st.just([]) | _byte_edits)
    | st.binary(max_size=300),
    st.sampled_from(("", "", "ftrace", "perf")),
)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Until this process ends."""
    return tempfile.TemporaryDirectory()


def attempt(example: Example) -> None:
    """Raises where a text is neither converted nor refused in one line, or passes wrongly."""
    source, target = (Path(_folder().name) / name for name in ("in.txt", "out.arrows"))
    source.write_bytes(example.text)
    target.unlink(missing_ok=True)
    said = ["--from", example.source_format] if example.source_format else []
    result = CliRunner().invoke(convert, [*said, str(source), str(target)])
    if result.exit_code:
        _check_refusal(result, source)
        assert not target.exists()
        return
    verdict = _verdict(target)
    if NOT_UNDERSTOOD in result.stderr or "events were left out" in result.stderr:
        _check_left_out(result.stderr, verdict)
    if not example.source_format:
        assert _verdict(source) == verdict, (verdict, result.stderr)


def _check_refusal(result: Result, source: Path) -> None:
    if not isinstance(result.exception, SystemExit):
        assert result.exception is not None
        raise result.exception
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {source}: "), line
    assert line.isprintable(), repr(line)


def _check_left_out(stderr: str, verdict: str) -> None:
    """Events of others may be left out, and ends that say nothing; all else is a loss."""
    harmless = ("events of other names", "has host virtual", "fault_end", "tlbi_", "recycle_")
    for note in stderr.splitlines():
        if NOT_UNDERSTOOD in note or (
            "left out: " in note and not any(w in note for w in harmless)
        ):
            assert verdict != PASS, note


def _verdict(path: Path) -> str:
    return validate(path).verdict
