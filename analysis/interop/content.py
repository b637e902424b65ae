"""What a file is, told by what is in it: names may say anything."""

from __future__ import annotations

from pathlib import Path

from nvscope.analysis.interop.formats import source_of
from nvscope.analysis.interop.text import FORMATS, MAX_LINE

_PARQUET = b"PAR1"  # Parquet's file format, "Glossary"
_STREAM = b"\xff\xff\xff\xff"  # Arrow's columnar format, "Encapsulated message format"
# Comments and what is not understood may come before the first event: bytes.
_LOOKED_AT = 1 << 18


def format_of(path: Path) -> str:
    """A format of formats.SOURCES; by the file's name where the content does not tell.

    What can be read once only, a pipe, is not looked into. Raises OSError.
    """
    if not path.is_file():
        return source_of(path)
    with path.open("rb") as stream:
        lead = stream.read(_LOOKED_AT)
    if lead.startswith(_PARQUET):
        return "parquet"
    if lead.startswith(_STREAM):
        return "trace"
    return _text_format(lead) or source_of(path)


def _text_format(lead: bytes) -> str:
    for line in lead.splitlines():
        text = line[:MAX_LINE].decode("utf-8", "replace")
        for name, pattern in FORMATS.items():
            if pattern.fullmatch(text):
                return name
    return ""
