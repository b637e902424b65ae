"""What a file is, told by what is in it: names may say anything."""

from __future__ import annotations

from pathlib import Path

from nvscope.analysis.interop.formats import source_of
from nvscope.analysis.interop.texts.dialects import dialect
from nvscope.analysis.interop.texts.text import MAX_LINE
from nvscope.probes.traces import filetypes
from nvscope.probes.traces.tracefile import TraceError

_PARQUET = b"PAR1"  # Parquet's file format, "Glossary"
STREAM = b"\xff\xff\xff\xff"  # Arrow's columnar format, "Encapsulated message format"
# Comments and what is not understood may come before the first event: bytes.
_LOOKED_AT = 1 << 18


def format_of(path: Path) -> str:
    """A format of formats.SOURCES; by the file's name where the content does not tell.

    What can be read once only, a pipe, is not looked into. Raises OSError; TraceError where it is
    something else, and is known.
    """
    if path.is_dir():
        raise TraceError(
            "this is a folder; data sets are for `nvscope validate`, which judges them"
        )
    if not path.is_file():
        return source_of(path)
    with path.open("rb") as stream:
        lead = stream.read(_LOOKED_AT)
    if lead.startswith(_PARQUET):
        return "parquet"
    if lead.startswith(STREAM):
        return "trace"
    if what := filetypes.foreign(lead):
        raise TraceError(f"this is {what}")
    lines = (line[:MAX_LINE].decode("utf-8", "replace") for line in lead.splitlines())
    return dialect(lines) or source_of(path)
