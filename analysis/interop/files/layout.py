"""Where things are in a data set of traces: a folder that many processes can read at one time.

    DATASET/boot=BOOT_ID/trace=NAME/share=0xffff000012340000/0.parquet
                                    share=all/0.parquet

A share has the rows of one `struct kvm`, in their order; `all` has those that concern every VM, and
how the trace ended. The columns are a trace's, and `row`: the row's number in the trace. Files of a
share follow on one another. Names that begin with a dot or an underscore are nobody's business, as
with Hive, whose way of naming folders this is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from nvscope.probes.traces.tracefile import SCHEMA, TraceError

BOOT, TRACE, SHARE = "boot=", "trace=", "share="
ALL = "all"
NUMBER = "row"
NUMBERED = SCHEMA.append(pa.field(NUMBER, pa.int64()))
ROWS_KEY = b"nvscope.rows"  # of the whole trace; in the last file of share=all

_VM = re.compile(r"0x[0-9a-f]{16}")
_FILE = re.compile(r"\d{1,9}\.parquet")
_LONGEST = 80  # of a name, before quoting
_LONGEST_QUOTED = 200  # the name of a folder has 255 bytes (NAME_MAX)


def trace_folder(data_set: Path, boot_id: str, name: str) -> Path:
    """Where a trace belongs.

    >>> trace_folder(Path("fleet"), "", "../a b").as_posix()
    'fleet/boot=unknown/trace=..%2Fa%20b'
    """
    boot, trace = (_quoted(word[:_LONGEST]) for word in (boot_id or "unknown", name))
    return data_set / f"{BOOT}{boot}" / f"{TRACE}{trace}"


def _quoted(word: str) -> str:
    """A part of a path, whatever the word is: also a file's name that is no UTF-8."""
    found = quote(os.fsencode(word), safe="")
    return re.sub("%.?$", "", found[:_LONGEST_QUOTED])


def share_folder(trace: Path, share: str) -> Path:
    """Where the files of a share are."""
    return trace / f"{SHARE}{share}"


def share_of(kvm: int) -> str:
    """The share of a VM.

    >>> share_of(0xFFFF000012340000)
    '0xffff000012340000'
    """
    return f"{kvm:#018x}"


def trace_folders(path: Path) -> list[Path]:
    """The traces of a data set, or of a part of it. Raises TraceError."""
    for level in (SHARE, TRACE, BOOT):
        if any(child.name.startswith(level) for child in _children(path)):
            found = _below(path, level)
            if found:
                return found
    raise TraceError(f"{path}: it is a folder, and no data set (`convert --partition` makes them)")


def shares(trace: Path) -> list[str]:
    """The shares of a trace, `all` first. Raises TraceError."""
    found = [child.name.removeprefix(SHARE) for child in _named(trace, SHARE)]
    for share in found:
        if share != ALL and not _VM.fullmatch(share):
            raise TraceError(f"{share_folder(trace, share)}: it is not of a data set")
    if ALL not in found:
        raise TraceError(f"{trace}: it has no {SHARE}{ALL}")
    return [ALL, *sorted(set(found) - {ALL})]


def files(trace: Path, share: str) -> list[Path]:
    """The files of a share, in their order. Raises TraceError."""
    folder = share_folder(trace, share)
    found = _children(folder)
    for child in found:
        if not _FILE.fullmatch(child.name) or not child.is_file():
            raise TraceError(f"{child}: it is not of a data set")
    found.sort(key=lambda child: int(child.stem))
    if [int(child.stem) for child in found] != list(range(len(found))) or not found:
        raise TraceError(f"{folder}: files are missing")
    return found


def _below(path: Path, level: str) -> list[Path]:
    children = _named(path, level)
    if level == SHARE:
        return [path]
    if level == TRACE:
        return children
    return [trace for child in children for trace in _named(child, TRACE)]


def _named(path: Path, level: str) -> list[Path]:
    """What is in a folder, all of which is of one level."""
    children = _children(path)
    for child in children:
        if not child.name.startswith(level):
            raise TraceError(f"{child}: it is not of a data set")
    return children


def _children(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.name[0] not in "._")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
