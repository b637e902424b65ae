"""A terminal that a test types on and reads: a program on a pty, its output through pyte."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pyte


class Terminal:
    """Runs a command on a terminal of its own. A context manager: the command does not outlive it.

    raw: all bytes that it has written.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.raw = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (an ioctl only)
        )

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    def settings(self) -> list[Any]:
        """How the terminal is set, as termios has it."""
        return termios.tcgetattr(self._slave)

    def lines(self) -> list[str]:
        """What is on the screen, without the spaces at the ends."""
        self._read(0)
        return [line.rstrip() for line in self._screen.display]

    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines())

    def type(self, keys: str) -> None:
        """Press keys; "\\x03" is Ctrl-C."""
        os.write(self._master, keys.encode())

    def await_text(self, words: str, timeout: float) -> str:
        """Wait until it is on the screen; the screen. timeout: seconds."""
        return self.await_match(re.escape(words), timeout)

    def await_match(self, pattern: str, timeout: float) -> str:
        """The same, with a regular expression."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text()):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {timeout:.0f} s on\n{self.text()}"
            self._read(min(left, 1))
        return self.text()

    def wait(self, timeout: float) -> int:
        """The command's exit status; negative: the signal that ended it. timeout: seconds."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"no end in {timeout:.0f} s:\n{self.text()}"
            self._read(0.1)
        self._read(0)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    def _read(self, seconds: float) -> None:
        """Take over what it has written, and wait for the first of it."""
        while select.select([self._master], [], [], seconds)[0]:
            data = os.read(self._master, 1 << 16)
            self.raw += data
            self._stream.feed(data)
            seconds = 0


def _take_terminal() -> None:
    """Make standard input the terminal that sends us signals."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
