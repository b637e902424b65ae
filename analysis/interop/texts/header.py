"""The line that a recipe puts before a recording: which kernel, what was traced, what words mean.

It comes out of a file, so it is believed in only as far as it makes sense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from nvscope.analysis.interop.texts.recipe import HEADER
from nvscope.analysis.interop.texts.text import MAX_LINE
from nvscope.probes.errors import shown

MAX_HEADER = 1 << 16  # bytes
_RECORD = re.compile(rb"[\s:](?:record|fallback)_?\w*: ")
REVMAPS = ("none", "maple", "tracking", "unknown")


@dataclass(frozen=True)
class Header:
    """See recipe.Recipe. found: whether there was one; the rest is empty where it was not.

    Its texts may be shown anywhere as they are.
    """

    found: bool = False
    kernel: str = ""
    arch: str = ""
    revmap: str = ""
    boot_id: str = ""
    page_bytes: int = 4096
    probes: Mapping[str, str] | None = None
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)


def read(stream: IO[bytes]) -> Header:
    """The header of a text: among the comments that it begins with. Leaves the stream anywhere."""
    while line := stream.readline(MAX_HEADER):
        if line.lstrip()[:1] not in (b"#", b""):
            break
        if line.startswith(HEADER.encode()):
            return parse(line[len(HEADER) :].decode("utf-8", "replace"))
    return Header()


def guess_revmap(stream: IO[bytes]) -> str:
    """ "maple" if there are events of its functions, else "none"; reads all of a text."""
    while line := stream.readline(MAX_LINE):
        if _RECORD.search(line):
            return "maple"
    return "none"


def parse(text: str) -> Header:
    """What a header's JSON says; of a damaged one nothing.

    >>> parse('{"kernel": "7.3", "revmap": "maple", "offsets": {"arch": 2504, "x": "y"}}').offsets
    {'arch': 2504}
    >>> parse("[" * 100_000) == Header()
    True
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return Header()
    if not isinstance(said, dict):
        return Header()
    revmap = _text(said.get("revmap"))
    probes = _texts(said.get("probes"))
    return Header(
        True,
        _text(said.get("kernel")),
        _text(said.get("arch")),
        revmap if revmap in REVMAPS else "",
        _text(said.get("boot_id")),
        _page_bytes(said.get("page_bytes")),
        probes or None,
        {key: _texts(value) for key, value in _items(said.get("words"))},
        {
            key: value
            for key, value in _items(said.get("offsets"))
            if type(value) is int and 0 <= value < 1 << 20
        },
    )


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items())[:64] if isinstance(value, dict) else []


def _text(value: Any) -> str:
    return shown(value[:200]) if isinstance(value, str) else ""


def _texts(value: Any) -> dict[str, str]:
    return {key[:200]: _text(text) for key, text in _items(value)}


def _page_bytes(value: Any) -> int:
    return value if type(value) is int and value in (4096, 16384, 65536) else 4096
