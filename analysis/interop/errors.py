"""The one way in which reports and conversions say that a file will not do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nvscope.probes.errors import InputError
from nvscope.probes.tracefile import TraceError


@contextlib.contextmanager
def said_in_a_line() -> Iterator[None]:
    """Raise InputError for TraceError."""
    try:
        yield
    except TraceError as error:
        raise InputError(" ".join(str(error).split())[:500]) from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file when the block ends well; else nothing changes.

    Raises InputError: also where something is there that is no regular file.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write {path}: it is no regular file")
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
