"""Files that can be read only once: standard input, and other pipes; and standard output."""

from __future__ import annotations

import contextlib
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import click

from nvscope.probes.errors import InputError, LackError
from nvscope.probes.traces.tracefile import TraceError

STDIO = Path("-")  # standard input, or standard output


class Readable(Protocol):
    """What can be read, once."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at its end."""
        ...


def is_pipe(path: Path) -> bool:
    """Whether it is one, or another thing that has no end yet and no beginning to go back to."""
    try:
        mode = path.stat().st_mode
    except OSError:  # also of a name that is too long: whoever opens it says so
        return path == STDIO
    return path == STDIO or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def opened(path: Path) -> IO[bytes]:
    """The stream of a pipe. Raises TraceError, click.UsageError."""
    if path == STDIO:
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("standard input is a terminal: a trace has to come from a pipe")
        return sys.stdin.buffer
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


@contextlib.contextmanager
def settled(path: Path) -> Iterator[Path]:
    """The file itself; or, of a pipe, a copy of all that comes out of it, gone after the block.

    Raises TraceError, LackError where there is no room for it, click.UsageError.
    """
    if not is_pipe(path):
        yield path
        return
    with contextlib.ExitStack() as stack:
        stream = opened(path)
        if path != STDIO:
            stack.enter_context(stream)
        yield stack.enter_context(copied(stream, path))


@contextlib.contextmanager
def copied(stream: Readable, path: Path) -> Iterator[Path]:
    """A file with all that comes out of a stream, gone after the block. path: what it is called.

    Raises LackError.
    """
    with contextlib.ExitStack() as stack:
        with _keeping(f"what comes from {path}"):
            # The ending of its name may say what it is.
            copy = stack.enter_context(
                tempfile.NamedTemporaryFile(prefix="nvscope-", suffix=path.suffix[:16])
            )
            shutil.copyfileobj(stream, copy)
            copy.flush()
        yield Path(copy.name)


@contextlib.contextmanager
def writing_stdout() -> Iterator[IO[bytes]]:
    """A stream whose content goes to standard output when the block ends well; else nothing does.

    Raises InputError, LackError where there is no room to keep it till then, click.UsageError.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: give OUT, or redirect it")
    with contextlib.ExitStack() as stack:
        with _keeping("what is to be written"):
            made = stack.enter_context(tempfile.TemporaryFile())
            yield made
            made.seek(0)
        _to_stdout(made)


def _to_stdout(made: IO[bytes]) -> None:
    try:
        shutil.copyfileobj(made, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever read it has had enough
    except OSError as error:
        raise InputError(f"cannot write standard output: {error.strerror or error}") from None


@contextlib.contextmanager
def _keeping(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LackError(
            f"cannot keep {what} in {tempfile.gettempdir()}: {error.strerror or error}"
            " (TMPDIR names another folder)"
        ) from None
