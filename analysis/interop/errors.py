"""The one way in which reports and conversions say that a file will not do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nvscope.probes.errors import InputError
from nvscope.probes.traces import private as private_files
from nvscope.probes.traces.tracefile import TraceError


@contextlib.contextmanager
def said_in_a_line() -> Iterator[None]:
    """Raise InputError for TraceError."""
    try:
        yield
    except TraceError as error:
        raise InputError(" ".join(str(error).split())[:500]) from None


def require_another(target: Path, source: Path) -> None:
    """Raise InputError where what is to be written is what is to be read."""
    is_same = target == source
    with contextlib.suppress(OSError):  # of what is not there
        is_same = is_same or target.samefile(source)
    if is_same:
        raise InputError(f"{target} is what is to be read: name another file")


@contextlib.contextmanager
def writing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file when the block ends well; else nothing changes.

    private: for its owner alone to read. Raises InputError: also where something is there that is
    no regular file.
    """
    opener = private_files.opener if private else None
    target = _target(path)
    part = target.with_name(f".{target.name}.part")
    try:
        with open(part, "wb", opener=opener) as stream:
            yield stream
        part.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _target(path: Path) -> Path:
    """Where links lead. Raises InputError."""
    try:
        target = path.resolve()
        is_regular = not target.exists() or target.is_file()
    except RuntimeError:  # what pathlib makes of ELOOP
        raise InputError(f"cannot write {path}: {os.strerror(errno.ELOOP)}") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    if not is_regular:
        raise InputError(f"cannot write {path}: it is no regular file")
    return target
