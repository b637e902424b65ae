"""What libraries write to stderr, set aside: a user's error is one line."""

from __future__ import annotations

import os
import tempfile
from types import TracebackType
from typing import Self

# Lines that say why, in clang's, libbpf's, the verifier's and bcc's words; the first one found
# in this order is shown. All else is context.
_TELLING = ("error:", "EPERM", "invalid", "not allowed", "cannot", "rror", "ailed", "denied")


class Quiet:
    """While entered, file descriptor 2 writes to a file. For C libraries; not for two threads."""

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        self._stderr = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        self._file.close()

    def text(self) -> str:
        """All that was written so far."""
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")


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
