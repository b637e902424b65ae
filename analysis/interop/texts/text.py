"""Lines of `trace`, `trace-cmd report` and `perf script`, as raw events and what else they say.

Knows nothing of KVM. Formats: kernel/trace/trace.c and trace_output.c, trace-cmd's trace-read.c,
tools/perf/builtin-script.c. Whatever a line holds, it costs a time that is linear in its length:
quantifiers that could take the same characters in several ways are possessive or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO, NamedTuple

from nvscope.analysis.interop.texts.recipe import HEADER

MAX_LINE = 4096  # bytes; a kprobe event with all its arguments has a tenth of that

# comm is the kernel's 15 bytes, whatever is in them; what follows cannot all fit into it.
_TIME = r"(?P<seconds>[0-9]{1,10})\.(?P<fraction>[0-9]{6,9}):"
_EVENT = r"\s++(?P<event>[\w.]++(?::[\w.]++)*+):(?P<rest>.*)"
_CPU = r"\[(?P<cpu>[0-9]{1,5})\]"
# "comm-12  (11) [003] d..1.  123.456789: event: rest"; (tgid) and the flags can be missing.
FTRACE = re.compile(
    r"\s*+(?P<comm>(?:\S.{0,63}?)??)-(?P<tid>[0-9]{1,20})\s++(?:\(\s*+[0-9-]{1,20}\)\s++)?"
    rf"{_CPU}\s++(?P<flags>[^\s0-9]\S{{0,9}}\s++)?{_TIME}{_EVENT}",
    re.ASCII,
)
# "comm 11/12 [003]  123.456789012: group:event: rest"; a task that perf does not know is -1.
PERF = re.compile(
    r"\s*+(?:(?P<comm>\S(?:.{0,62}?\S)??)\s++)??(?:-?[0-9]{1,20}/)?(?P<tid>-?[0-9]{1,20})\s++"
    rf"{_CPU}\s++{_TIME}{_EVENT}",
    re.ASCII,
)
FORMATS = {"ftrace": FTRACE, "perf": PERF}

# "CPU:1 [LOST 123 EVENTS]" of ftrace, "CPU:1 [123 EVENTS DROPPED]" of trace-cmd; both can leave
# out the number, and the former's like can leave out the CPU.
_LOST = re.compile(
    r"(?:CPU:\s{0,9}(?P<cpu>[0-9]{1,5})\s{1,9})?\[(?:LOST (?:(?P<lost>[0-9]{1,18}) )?EVENTS"
    r"|(?:(?P<dropped>[0-9]{1,18}) )?EVENTS DROPPED)\]",
    re.ASCII | re.IGNORECASE,
)
# "perf 12 [003]  1.234567: PERF_RECORD_LOST lost 123"; with other fields there is less before it.
_SIDE_BAND = re.compile(
    rf"(?:{_CPU}\s++[0-9.]{{1,20}}:\s++)?(?:\w{{1,40}}:\s++)?PERF_RECORD_(?P<name>[A-Z_]{{1,40}})"
    r"(?::?\s++lost (?P<count>[0-9]{1,18}))?",
    re.ASCII,
)
_WRITTEN = re.compile(r"#\s{0,9}entries-in-buffer/entries-written: ([0-9]{1,18})/([0-9]{1,18})\b.*")
_STARTED = re.compile(r"##### CPU (?P<cpu>[0-9]{1,5}) buffer started ####", re.ASCII)
# kprobe_profile: event, hits, misses.
_PROFILE = re.compile(
    r"\s++(?P<event>\w++)\s++[0-9]{1,20}\s++(?P<misses>[0-9]{1,18})\s*+", re.ASCII
)
# What else tools print that is no event of a probe: how many CPUs there are, which of them are
# empty, where a buffer's page begins, stacks and functions.
_NOISE = re.compile(
    r"cpus=[0-9]+|version = [0-9]+|CPU [0-9]{1,5} is empty|CPU:[0-9]{1,5} \[SUBBUFFER START\].*"
    r"|=> .*|[0-9a-f]{8,16} \S.*\)"
    r"|.*[0-9]: (?:<(?:user )?stack trace>|[\w.]{1,200} <-[\w.]{1,200})",
    re.ASCII,
)
_VALUE = re.compile(r"(?<!\w)(\w++)[=:] ?(-?(?:0x)?[0-9a-fA-F]{1,20}\b|\w++)", re.ASCII)


class Raw(NamedTuple):
    """One event of a text. event: without its group; values: integers, and words as they are.

    What the kernel could not read ("(fault)") is not among the values.
    """

    time_ns: int
    cpu: int
    tid: int
    comm: str
    event: str
    values: dict[str, int | str]


class Where(Enum):
    """Which events are missing where a text says that some are."""

    CPU = "of this CPU, between its event before and its event after"
    START = "of this CPU, or of any, before its first"
    HERE = "of any CPU, between the events before and after"
    BETWEEN = "the same, if there are some before: another recording begins"
    ANYWHERE = "of the whole recording"


@dataclass(frozen=True)
class Mark:
    """A place at which a text says that events are missing, or where it is not understood.

    count: 1 where it does not say how many. cause: of the row of loss that it becomes. cpu: None
    for all. event: for a probe that missed calls, which.
    """

    where: Where
    cause: str
    count: int = 1
    cpu: int | None = None
    event: str = ""


@dataclass
class Seen:
    """What a text holds beside events: lines that are not understood, the first of them.

    is_cut: its last line has no end.
    """

    lines: int = 0
    unknown: int = 0
    first_unknown: str = ""
    is_cut: bool = False


def parse(
    stream: IO[bytes], line_format: re.Pattern[str], seen: Seen, *, values: bool = True
) -> Iterator[Raw | Mark]:
    """The events of a text, in its order; what is given is of line number seen.lines, from 1 on.

    values: whether those of events are wanted. Never raises for what is in it.
    """
    for line, is_whole in _lines(stream):
        seen.lines += 1
        item: Raw | Mark | None = _NOT_UNDERSTOOD
        if is_whole or _is_noise(line):
            item = _item(line, line_format, values)
        if item is _NOT_UNDERSTOOD:
            seen.unknown += 1
            seen.first_unknown = seen.first_unknown or line[:80]
            seen.is_cut = not is_whole
        if item is not None:
            yield item


_NOT_UNDERSTOOD = Mark(Where.HERE, "not_understood")


def _item(line: str, line_format: re.Pattern[str], values: bool) -> Raw | Mark | None:
    """None: there is nothing to be said of it."""
    match = line_format.fullmatch(line)
    if match and not _is_side_band(match):
        return _raw(match, values)
    text = line.strip()
    if mark := _losses(line, text):
        return mark if mark.count else None
    return None if _is_noise(line) else _NOT_UNDERSTOOD


def _losses(line: str, text: str) -> Mark | None:
    """What a line says of losses; of none where it says that there were none."""
    if lost := _LOST.fullmatch(text):
        return _of_cpu(lost["cpu"], int(lost["lost"] or lost["dropped"] or 1))
    if profile := _PROFILE.fullmatch(line):
        return Mark(Where.ANYWHERE, "missed", int(profile["misses"]), event=profile["event"])
    if started := _STARTED.fullmatch(text):
        return Mark(Where.START, "overwritten", cpu=int(started["cpu"]))
    if written := _WRITTEN.fullmatch(text):
        overwritten = max(0, int(written[2]) - int(written[1]))
        return Mark(Where.START, "overwritten", overwritten)
    if text.startswith(HEADER):
        return Mark(Where.BETWEEN, "not_recorded")
    if "PERF_RECORD_" in text and not text.startswith("#"):
        record = _SIDE_BAND.search(text)
        return _of_perf(record) if record else None
    return None


def _is_side_band(match: re.Match[str]) -> bool:
    event, rest = match["event"], match["rest"]
    return "PERF_RECORD_LOST" in event or rest.lstrip().startswith("PERF_RECORD_LOST")


def _of_perf(record: re.Match[str]) -> Mark:
    """Of a record that is no sample; most say nothing of losses."""
    count = int(record["count"] or 1)
    if record["name"] == "LOST":
        return _of_cpu(record["cpu"], count)
    # A total, whose time and CPU are those of its being read.
    is_total = record["name"] == "LOST_SAMPLES"
    return Mark(Where.ANYWHERE, "ring_full", count if is_total else 0)


def _of_cpu(cpu: str | None, count: int) -> Mark:
    if cpu is None:
        return Mark(Where.ANYWHERE, "ring_full", count)
    return Mark(Where.CPU, "ring_full", count, int(cpu))


def _raw(match: re.Match[str], values: bool) -> Raw:
    nanoseconds = int(match["fraction"].ljust(9, "0"))
    return Raw(
        int(match["seconds"]) * 10**9 + nanoseconds,
        min(int(match["cpu"]), 0xFFFF),
        max(-1, min(int(match["tid"]), 0x7FFFFFFF)),
        (match["comm"] or "").strip(),
        match["event"].rpartition(":")[2],
        {key: _value(text) for key, text in _VALUE.findall(match["rest"])} if values else {},
    )


def _value(text: str) -> int | str:
    """A value as ftrace prints it.

    >>> _value("0xff"), _value("-11"), _value("store"), _value("12ab")
    (255, -11, 'store', '12ab')
    """
    try:
        return int(text, 16 if text.startswith(("0x", "-0x")) else 10)
    except ValueError:
        return text


def _is_noise(line: str) -> bool:
    """Comments, empty lines, and what tools say beside events."""
    text = line.strip()
    return not text or text.startswith("#") or _NOISE.fullmatch(text) is not None


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, bool]]:
    """Lines, of each at most MAX_LINE bytes, and whether that was all of it.

    The rest of longer ones is left out; the last one may have no end.
    """
    while data := stream.readline(MAX_LINE):
        whole = data.endswith(b"\n")
        yield data.decode("utf-8", "replace").rstrip("\r\n"), whole
        while not whole and (rest := stream.readline(MAX_LINE)):
            whole = rest.endswith(b"\n")
