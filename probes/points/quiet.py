"""What libraries write to stdout and stderr, set aside: a user's error is one line."""

from __future__ import annotations

import ctypes
import os
import tempfile
from typing import Self

# Lines that say why, in clang's, libbpf's, the verifier's and bcc's words; the first one found
# in this order is shown. All else is context.
_TELLING = ("error:", "EPERM", "invalid", "not allowed", "cannot", "rror", "ailed", "denied")


class Quiet:
    """While entered, file descriptors 1 and 2 write to a file: C libraries complain on both.

    Not for two threads at once.
    """

    def __enter__(self) -> Self:
        _flush_c()
        self._file = tempfile.TemporaryFile()
        self._saved = {fd: os.dup(fd) for fd in (1, 2)}
        for fd in self._saved:
            os.dup2(self._file.fileno(), fd)
        return self

    def __exit__(self, *_: object) -> None:
        _flush_c()
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        self._file.close()

    def text(self) -> str:
        """All that was written so far."""
        _flush_c()
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")


def _flush_c() -> None:
    """Write out what C libraries have buffered; Python's own buffers are not touched."""
    ctypes.CDLL(None).fflush(None)


def first_useful_line(said: str) -> str:
    """The line of a library's complaint that tells the cause.

    >>> first_useful_line("In file included from a.c:1:\\na.c:3:1: error: no such type\\n1 error")
    'a.c:3:1: error: no such type'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for sign in _TELLING:
        for line in lines:
            if sign in line:
                return line
    return lines[-1] if lines else "no reason given"
