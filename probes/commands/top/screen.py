"""`nvscope top` on a terminal: a screen of its own, with keys, that leaves it as it was."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live

from nvscope.probes.commands.session import STOP_SIGNALS
from nvscope.probes.commands.top.keyboard import Keyboard
from nvscope.probes.commands.top.view import Frame, State, screen

_KEY_SECONDS = 0.1  # how long a signal may have to wait
# What would end or stop us in the middle of the screen: waited for, like the others.
_SIGNALS = STOP_SIGNALS | {signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP}


class Screen:
    """Shows frames until it is told to stop. look: makes the next frame; interval: seconds."""

    def __init__(
        self, look: Callable[[], Frame], console: Console, state: State, interval: float
    ) -> None:
        self._look = look
        self._console = console
        self._state = state
        self._interval = interval
        self._frame: Frame | None = None
        self._next = time.monotonic() + interval

    def run(self) -> None:
        """Until q, Ctrl-C or another signal; Ctrl-Z gives the terminal back meanwhile."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while self._until_left():
                os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _until_left(self) -> bool:
        """Whether it was only for Ctrl-Z."""
        with Keyboard() as keyboard, self._live() as show:
            while not self._state.done:
                show()
                pressed = keyboard.read(min(_KEY_SECONDS, self._next - time.monotonic()))
                self._state.press(pressed)
                if came := signal.sigtimedwait(_SIGNALS, 0):
                    return came.si_signo == signal.SIGTSTP
                self._update()
        return False

    def _update(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = max(self._next + self._interval, time.monotonic())
        frame = self._look()
        # Looked at all the same while paused: rates are of an interval, not of the pause.
        if not self._state.paused:
            self._frame = frame

    @contextlib.contextmanager
    def _live(self) -> Iterator[Callable[[], None]]:
        """The other screen of the terminal; what is called shows what there is, if it is new."""
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            shown: list[object] = []

            def show() -> None:
                height = self._console.height
                now = [self._frame, repr(self._state), height, self._console.width]
                if now != shown:
                    live.update(screen(self._frame, self._state, height), refresh=True)
                    shown[:] = now

            yield show
