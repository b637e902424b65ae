"""The text of a file that a user has written: bounded, and UTF-8."""

from __future__ import annotations

from pathlib import Path

from nvscope.probes.errors import InputError, LackError

# Far more than any of them has; what is longer is some other file.
MOST_BYTES = 1 << 20


def read_text(path: Path, too_long: str, most: int = MOST_BYTES) -> str:
    """too_long: what to say of one over so many bytes. Raises InputError, LackError: one line."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise LackError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > most:
        raise InputError(f"{path} is {too_long} than {most:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path} line {line}: not UTF-8") from None
