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
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pyte


class Terminal:
    """Runs a command on a terminal of its own. A context manager: the command does not outlive it.

    raw: all bytes that it has written. They are read all the time: ssh, which may be the command,
    would else stop, and with it all that shares its connection.
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
        self._changed = threading.Condition()
        self._ends = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    def settings(self) -> list[Any]:
        """How the terminal is set, as termios has it."""
        return termios.tcgetattr(self._slave)

    def lines(self) -> list[str]:
        """What is on the screen, without the spaces at the ends."""
        with self._changed:
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
        return self.await_screen(lambda text: re.search(pattern, text), timeout, repr(pattern))

    def await_screen(self, fits: Callable[[str], object], timeout: float, what: str) -> str:
        """Wait until the screen fits, which may be in the middle of a redraw; the screen."""
        found: list[str] = []

        def seen_now() -> bool:
            found[:] = [text for text in [self.text()] if fits(text)]
            return bool(found)

        with self._changed:
            seen = self._changed.wait_for(seen_now, timeout)
        assert seen, f"no {what} in {timeout:.0f} s on\n{self.text()}"
        return found[0]

    def await_bytes(self, data: bytes, times: int, timeout: float) -> None:
        """Wait until it has written them so many times. timeout: seconds."""
        with self._changed:
            seen = self._changed.wait_for(lambda: self.raw.count(data) >= times, timeout)
        assert seen, f"no {data!r} in {timeout:.0f} s"

    def wait(self, timeout: float) -> int:
        """The command's exit status; negative: the signal that ended it. timeout: seconds."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end in {timeout:.0f} s:\n{self.text()}") from None
        self._finish()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._finish()
        os.close(self._master)
        os.close(self._slave)

    def _finish(self) -> None:
        """Read what is left."""
        self._ends = True
        self._reader.join()

    def _read(self) -> None:
        """Take over what is written, until all is and it ends."""
        while True:
            ends = self._ends
            if select.select([self._master], [], [], 0.05)[0]:
                data = os.read(self._master, 1 << 16)
                with self._changed:
                    self.raw += data
                    self._stream.feed(data)
                    self._changed.notify_all()
            elif ends:
                return


def _take_terminal() -> None:
    """Make standard input the terminal that sends us signals."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
