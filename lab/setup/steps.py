"""Progress of long work: one line a step, with a live spinner where there is a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text

console = Console(stderr=True, highlight=False, soft_wrap=True)

_said: set[str] = set()
# A function that replaces the text behind the step's title.
Tell = Callable[[str], None]


@contextmanager
def step(title: str, note: str = "") -> Iterator[Tell]:
    """Show that `title` is under way, and at its end how long it took.

    note: what holds only while it is under way, behind the title.

    Yields a function that says how far it is; without a terminal that is said every 20 s. Steps of
    several threads may be under way at once.
    """
    started = time.monotonic()
    if console.is_terminal:
        with _board.line(f"{title} {note}".rstrip()) as tell:
            yield tell
    else:
        console.print(f"  … {title} {note}".rstrip())
        yield _sparse(title)
    console.print(f"[green]made[/]   {title} ({time.monotonic() - started:.0f} s)")
    sys.stderr.flush()


def cached(title: str) -> None:
    """Say that this step's result was there already; once, however many kernels need it."""
    if title not in _said:
        _said.add(title)
        console.print(f"[cyan]cached[/] {title}")


class _Board:
    """One live display with a line for each step: a console can have only one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[object, str] = {}
        self._status: Status | None = None

    @contextmanager
    def line(self, title: str) -> Iterator[Tell]:
        """A line while the block runs; yields what changes the text behind its title."""
        key = object()
        self._show(key, f"{title} …")
        try:
            yield lambda text: self._show(key, f"{title} … {text}")
        finally:
            self._show(key, None)

    def _show(self, key: object, line: str | None) -> None:
        with self._lock:
            if line is None:
                del self._lines[key]
            else:
                self._lines[key] = line
            text = Text("\n".join(self._lines.values()))
            if self._status and text:
                self._status.update(text)
            elif self._status:
                self._status.stop()
                self._status = None
            elif text:
                self._status = console.status(text)
                self._status.start()


_board = _Board()


def _sparse(title: str, every_seconds: float = 20.0) -> Tell:
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every_seconds:
            last = time.monotonic()
            console.print(f"  … {title}: {text}", markup=False)

    return tell
