"""Keys as they are pressed, from a terminal that is as before afterwards."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Any, Self

_MOST = 64  # bytes at once


class Keyboard:
    """Standard input without line editing and echo, while entered. Ctrl-C stays a signal.

    Where it is no terminal there are no keys, and reading only waits.
    """

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
        self._before: list[Any] = []

    def read(self, seconds: float) -> str:
        """What was pressed, "" where nothing was in that time; "q" where the terminal is gone."""
        if not select.select([] if self._fd is None else [self._fd], [], [], max(0, seconds))[0]:
            return ""
        assert self._fd is not None
        try:
            pressed = os.read(self._fd, _MOST)
        except OSError:
            pressed = b""
        return pressed.decode(errors="replace") if pressed else "q"

    def __enter__(self) -> Self:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
