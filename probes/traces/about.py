"""What a trace says of itself, in the metadata of its file: JSON, of which nothing is believed.

Both kinds of files, Arrow and Parquet, are read by this one reader, so that whoever has an About
can rely on its types: see events.About.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from nvscope.probes.errors import shown
from nvscope.probes.traces.events import SCHEMA_VERSION, About

ABOUT_KEY = b"nvscope"  # of the schema's metadata; the value is JSON
MAX_BYTES = 1 << 20  # of the JSON: what a recorder writes has some 2 KiB
MAX_TEXT = 256  # characters of one text; longer ones are cut
MAX_LINES_TEXT = 1 << 16  # characters of a points file
MAX_PROBES = 64  # the catalog has some 20 points
_MAX_NS = (1 << 64) - 1  # of a clock: columns of times have 64 bits


class AboutError(ValueError):
    """It cannot be believed; the message is one line."""


def dumped(about: About) -> bytes:
    """The JSON."""
    return json.dumps({"schema": SCHEMA_VERSION} | asdict(about)).encode()


def parsed(text: bytes) -> About:
    """The other way. What older traces do not say has its default. Raises AboutError."""
    said = _object(text)
    version = said.pop("schema", None)
    if type(version) is not int:
        raise _unreadable("there is no version in it")
    if version != SCHEMA_VERSION:
        raise AboutError(f"its format has version {version!r:.20}, not {SCHEMA_VERSION}")
    for key in said:
        if key not in _READERS:
            raise _unreadable(f"{shown(key):.40} is nothing that this nvscope knows")
    return About(**{key: _READERS[key](value, key) for key, value in said.items()})


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise _unreadable(f"it has {len(text):,} bytes")
    try:
        said = json.loads(text)
    except RecursionError:
        raise _unreadable("it is nested too deep") from None
    except ValueError:  # also of text that is no UTF-8, and of numbers with thousands of digits
        raise _unreadable("it is no JSON") from None
    if not isinstance(said, dict):
        raise _unreadable("it is no object")
    return said


def _text(value: Any, key: str) -> str:
    """It may be shown anywhere as it is."""
    if not isinstance(value, str):
        raise _unreadable(f"{shown(key):.40} is no text")
    return shown(value[:MAX_TEXT])


def _lines(value: Any, key: str) -> str:
    """The same, with its lines."""
    if not isinstance(value, str):
        raise _unreadable(f"{shown(key):.40} is no text")
    return "\n".join(shown(line) for line in value[:MAX_LINES_TEXT].split("\n"))


def _time(value: Any, key: str) -> int:
    """What no clock shows becomes the nearest that one can."""
    if type(value) is not int:
        raise _unreadable(f"{key} is no time in nanoseconds")
    return min(max(value, 0), _MAX_NS)


def _probes(value: Any, key: str) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_PROBES:
        raise _unreadable(f"{key} are no probe points")
    return {_text(point, key): _text(hook, point) for point, hook in value.items()}


_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    **{field.name: _text for field in fields(About)},
    "started_ns": _time,
    "started_unix_ns": _time,
    "probes": _probes,
    "points_text": _lines,
}


def _unreadable(why: str) -> AboutError:
    return AboutError(f"what it says of itself cannot be read: {why}")
