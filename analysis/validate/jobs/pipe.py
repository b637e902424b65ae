"""Traces that can be read only once: standard input, and other pipes."""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from nvscope.analysis.interop.files.stored import Numbered
from nvscope.analysis.validate.jobs.parts import numbered
from nvscope.probes.traces.tracefile import Reader

POLL_SECONDS = 0.2
# After Ctrl-C, which the recorder at the other end got as well: until its last rows are here.
GRACE_SECONDS = 5.0
# What is kept for a second pass: of the compressed rows of a hundred million events.
MAX_KEPT_BYTES = 1 << 30
_CHUNK = 1 << 16  # the capacity of a pipe (pipe(7))


class Piped:
    """What comes out of a pipe, kept on disk as far as there is room.

    stopped: somebody wants it to end; it does when the recorder ends it, or soon. is_cut: it did
    not wait for that.
    """

    def __init__(self, stream: IO[bytes], grace_seconds: float = GRACE_SECONDS) -> None:
        self.is_cut = False
        self._file = stream.fileno()
        self._grace_seconds = grace_seconds
        self._deadline: float | None = None
        self._kept: IO[bytes] | None = tempfile.TemporaryFile()  # noqa: SIM115
        self._lead = b""  # looked at, and not read yet

    def starts_with(self, lead: bytes) -> bool:
        """Whether it does: waits for as much, and reads nothing."""
        while len(self._lead) < len(lead) and (data := self._next(len(lead) - len(self._lead))):
            self._lead += data
        return self._lead.startswith(lead)

    def stop(self) -> None:
        """Somebody wants it to end."""
        self._deadline = self._deadline or time.monotonic() + self._grace_seconds

    def read(self, size: int = -1) -> bytes:
        """As of a file; less than `size` at the end only."""
        parts = []
        while size > 0 and (data := self._some(size)):
            parts.append(data)
            size -= len(data)
        self._keep(whole := b"".join(parts))
        return whole

    def again(self) -> Iterator[Numbered] | None:
        """The rows once more, from the first; None: it was too much to keep them."""
        if self._kept is None:
            return None
        self._kept.seek(0)
        return numbered(Reader(self._kept))

    def close(self) -> None:
        """Nothing of it is needed any more."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _some(self, size: int) -> bytes:
        if self._lead:
            data, self._lead = self._lead[:size], self._lead[size:]
            return data
        return self._next(size)

    def _next(self, size: int) -> bytes:
        while self._deadline is None or time.monotonic() < self._deadline:
            if select.select([self._file], [], [], POLL_SECONDS)[0]:
                return os.read(self._file, min(size, _CHUNK))
        self.is_cut = True
        return b""

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        try:
            if self._kept.tell() + len(data) <= MAX_KEPT_BYTES:
                self._kept.write(data)
                return
        except OSError:
            pass  # no room on the disk; the trace is judged all the same
        self.close()
