"""A switch of the host's that is ours for a while."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

import click

from nvscope.probes.errors import LackError


class Switch:
    """A file of the kernel's that has a value; one process at a time changes it by such an object.

    What others write meanwhile goes before: that is then what is put back, and nothing is while
    theirs stands. Raises LackError where another storm has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.open("rb")
        self._before: str | None = None  # what others want; None: we have changed nothing
        self._ours = ""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LackError(f"another storm switches {path} now: wait for its end") from None

    def value(self) -> str:
        """What it is now. Raises OSError."""
        return self._path.read_text().strip()

    def set(self, value: str) -> None:
        """Change it. Raises OSError."""
        now = self.value()
        if self._before is None or now != self._ours:
            self._before = now
        self._path.write_text(value)
        self._ours = value

    def put_back(self) -> None:
        """Set it as it was before us, unless another has changed it since; then say so.

        To be called once, whatever happened. Raises LackError where it cannot be done.
        """
        with contextlib.closing(self._lock):
            if self._before is None:
                return
            try:
                self._put_back(self._before)
            except OSError as error:
                raise LackError(
                    f"cannot set {self._path} back: {error.strerror}; it was {self._before} before"
                ) from None

    def _put_back(self, before: str) -> None:
        now = self.value()
        if now == self._ours:
            self._path.write_text(before)
        elif now != before:
            click.echo(f"nvscope: another has set {self._path} to {now}: it stays so", err=True)
