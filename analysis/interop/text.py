"""Lines of `trace`, `trace-cmd report` and `perf script`, as raw events. Knows nothing of KVM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

MAX_LINE = 4096  # bytes; a kprobe event with all its arguments has a tenth of that

# comm is the kernel's 15 bytes, whatever is in them; what follows cannot all fit into it.
_COMM = r"\s*(?P<comm>.{0,64}?)"
_TIME = r"(?P<seconds>\d{1,10})\.(?P<fraction>\d{6,9}):"
_EVENT = r"\s+(?P<event>[\w:.]+):\s*(?P<rest>.*)"
# "comm-12  (11) [003] d..1.  123.456789: event: rest"; (tgid) and the flags can be missing.
FTRACE = re.compile(
    rf"{_COMM}-(?P<tid>\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(?P<cpu>\d{{1,5}})\]\s+"
    rf"(?:[^\s\d][^\s]{{0,9}}\s+)?{_TIME}{_EVENT}"
)
# "comm 11/12 [003]  123.456789012: group:event: rest"
PERF = re.compile(rf"{_COMM}\s+(?:\d+/)?(?P<tid>\d+)\s+\[(?P<cpu>\d{{1,5}})\]\s+{_TIME}{_EVENT}")

# "CPU:1 [LOST 123 EVENTS]" of ftrace, "CPU:1 [123 EVENTS DROPPED]" of trace-cmd; both can leave
# out the number. "PERF_RECORD_LOST lost 123" of perf.
_LOST = re.compile(
    r"CPU:\s*(?P<cpu>\d{1,5}) \[(?:LOST )?(?P<count>\d{1,18})? ?(?:LOST )?EVENTS(?: DROPPED)?\]"
    r"|PERF_RECORD_LOST(?:_SAMPLES)?:? lost (?P<perf>\d{1,18})"
)
# kprobe_profile: event, hits, misses.
_PROFILE = re.compile(r"\s+(?P<event>\w+)\s+\d+\s+(?P<misses>\d{1,18})")
_VALUE = re.compile(r"(\w+)[=:] ?(\(fault\)|-?(?:0x)?[0-9a-fA-F]{1,20}\b|\w+)")

FORMATS = {"ftrace": FTRACE, "perf": PERF}


@dataclass(frozen=True)
class Raw:
    """One event of a text. event: without its group; values: integers, and words as they are."""

    time_ns: int
    cpu: int
    tid: int
    comm: str
    event: str
    values: dict[str, int | str]


@dataclass(frozen=True)
class Lost:
    """Events that the recorder lost. count: 1 where it does not say how many; cause: "ring_full"
    or, of a probe that missed calls, "missed".
    """

    count: int
    cause: str


@dataclass
class Seen:
    """What a text holds beside events: lines that are not understood, the first of them."""

    lines: int = 0
    unknown: int = 0
    first_unknown: str = ""
    headers: list[str] = field(default_factory=list)


def parse(stream: IO[bytes], line_format: re.Pattern[str], seen: Seen) -> Iterator[Raw | Lost]:
    """The events of a text, in its order. Never raises for what is in it."""
    for line in _lines(stream):
        seen.lines += 1
        item = _item(line, line_format)
        if item is not None:
            yield item
        elif not _is_noise(line):
            seen.unknown += 1
            seen.first_unknown = seen.first_unknown or line[:80]


def _item(line: str, line_format: re.Pattern[str]) -> Raw | Lost | None:
    lost = _LOST.search(line)
    if lost:
        return Lost(int(lost["count"] or lost["perf"] or 1), "ring_full")
    match = line_format.fullmatch(line)
    if match:
        return _raw(match)
    profile = _PROFILE.fullmatch(line)
    if profile:
        return Lost(int(profile["misses"]), "missed")
    return None


def _raw(match: re.Match[str]) -> Raw:
    nanoseconds = int(match["fraction"].ljust(9, "0"))
    return Raw(
        int(match["seconds"]) * 10**9 + nanoseconds,
        min(int(match["cpu"]), 0xFFFF),
        min(int(match["tid"]), 0x7FFFFFFF),
        match["comm"].strip(),
        match["event"].rpartition(":")[2],
        {key: _value(text) for key, text in _VALUE.findall(match["rest"])},
    )


def _value(text: str) -> int | str:
    """A value as ftrace prints it; what could not be read is 0.

    >>> _value("0xff"), _value("-11"), _value("(fault)"), _value("store"), _value("12ab")
    (255, -11, 0, 'store', '12ab')
    """
    if text == "(fault)":
        return 0
    try:
        return int(text, 16 if text.startswith(("0x", "-0x")) else 10)
    except ValueError:
        return text


def _is_noise(line: str) -> bool:
    """Comments, empty lines, and what trace-cmd says of itself."""
    text = line.strip()
    return not text or text.startswith("#") or text.startswith(("cpus=", "version ="))


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines of at most MAX_LINE bytes: of longer ones the rest is left out."""
    while data := stream.readline(MAX_LINE):
        whole = data.endswith(b"\n")
        yield data.decode("utf-8", "replace").rstrip("\r\n")
        while not whole and (rest := stream.readline(MAX_LINE)):
            whole = rest.endswith(b"\n")
