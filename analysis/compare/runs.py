"""What `nvscope probe NAME --json` wrote, checked: nothing in such a file is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nvscope.analysis.units import name
from nvscope.probes.counts.durations import total
from nvscope.probes.counts.snapshot import SLOTS, Durations
from nvscope.probes.errors import InputError, shown

# A run of a thousand VMs with five groups each has some 4 MB; what JSON makes of 8 MiB at worst,
# a list of empty lists, fits 200 MiB of memory.
MAX_BYTES = 8 << 20
# The kernel counts in 64 bits.
MAX_COUNT = 1 << 64
_MAX_SAID = 300  # characters of an error

Labels = tuple[tuple[str, str], ...]
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Group:
    """Calls with the same labels, in the order of Run.by; no labels: all calls."""

    labels: Labels
    durations: Durations


@dataclass(frozen=True)
class Run:
    """One run of a probe. seconds: how long it measured; lost: cause -> events; includes: what
    durations include besides, a word of the probe's, "" for nothing.
    """

    name: str
    probe: str
    by: tuple[str, ...]
    seconds: float
    kernel: str
    arch: str
    revmap: str
    emulated: bool
    lost: Mapping[str, int]
    groups: tuple[Group, ...]
    includes: str = ""

    @property
    def events_lost(self) -> int:
        """Of all causes: an upper bound, for one event can have two."""
        return sum(self.lost.values())

    def total(self) -> Group:
        """All groups as one, without labels."""
        return Group((), total(group.durations for group in self.groups))


class _MalformedError(ValueError):
    """What is wrong, and where in the file: one line, whatever the file calls things."""

    def __init__(self, what: str) -> None:
        super().__init__(name(what, _MAX_SAID))


def read(path: Path) -> Run:
    """The run in a file. Raises InputError, one line: what is wrong with it, and where."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: no run of a probe has more than {MAX_BYTES >> 20} MiB")
    try:
        return parse(raw, shown(path))
    except _MalformedError as error:
        raise InputError(f"{path}: no output of `nvscope probe NAME --json`: {error}") from None


def parse(raw: bytes, called: str) -> Run:
    """The run in the text of a file. Raises ValueError, saying what is wrong, and where."""
    top = _mapping(_json(raw), "the file")
    if top.get("kind") != "probe":
        raise _MalformedError('its "kind" is not "probe"')
    by = tuple(_list(top, "by", _text))
    host = _mapping(top.get("host"), "host")
    groups = tuple(_list(top, "groups", lambda each, where: _group(each, where, by)))
    if len({group.labels for group in groups}) < len(groups):
        raise _MalformedError("groups: two have the same labels")
    lost = _mapping(top.get("lost"), "lost")
    kernel = _text(host.get("kernel"), "host.kernel")
    return Run(
        name=called,
        probe=_text(top.get("probe"), "probe"),
        by=by,
        seconds=_seconds(top.get("seconds")),
        kernel=kernel,
        arch=_text(host.get("arch"), "host.arch"),
        revmap=_text(host.get("revmap"), "host.revmap"),
        # CONFIG_LOCALVERSION of the lab's own kernels (lab/kernel/building/lab.config).
        emulated=host.get("emulated") is True or "-nvscope" in kernel,
        lost={cause: _count(n, f"lost.{cause}") for cause, n in lost.items()},
        groups=groups,
        includes=_text(top.get("includes", ""), "includes"),
    )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _MalformedError:
        raise
    except UnicodeDecodeError as error:
        raise _MalformedError(f"no UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _MalformedError("it is nested too deep") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise _MalformedError(f"no JSON: {str(error)[:200]}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _MalformedError("an object has a key twice")
    return found


def _no_constant(constant: str) -> None:
    raise _MalformedError(f"no JSON: {constant}")


def _group(value: Any, where: str, by: tuple[str, ...]) -> Group:
    group = _mapping(value, where)
    labels = _mapping(group.get("labels"), f"{where}.labels")
    if set(labels) != set(by):
        raise _MalformedError(f'{where}.labels: these are not what "by" says')
    slots = tuple(_list(group, "slots", _count, where))
    if len(slots) != SLOTS:
        raise _MalformedError(f"{where}.slots: there are {len(slots)}, not {SLOTS}")
    count = _count(group.get("count"), f"{where}.count")
    if count != sum(slots):
        raise _MalformedError(f"{where}.count: it is not the sum of the slots")
    sum_ns = _count(group.get("sum_ns"), f"{where}.sum_ns")
    named = tuple((key, _text(labels[key], f"{where}.labels.{key}")) for key in by)
    return Group(named, Durations(count, sum_ns, slots))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedError(f"{where}: no object")
    return value


def _list(
    of: Mapping[str, Any], key: str, read_one: Callable[[Any, str], _Value], where: str = ""
) -> list[_Value]:
    path = f"{where}.{key}" if where else key
    value = of.get(key)
    if not isinstance(value, list):
        raise _MalformedError(f"{path}: no list")
    return [read_one(each, f"{path}[{i}]") for i, each in enumerate(value)]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _MalformedError(f"{where}: no text")
    return value


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_COUNT:
        raise _MalformedError(f"{where}: no count")
    return value


def _seconds(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared before it is made a float: an int may be too large for one.
    if not number or not 0 < value < MAX_COUNT or not math.isfinite(value):
        raise _MalformedError("seconds: no duration above 0")
    return float(value)
