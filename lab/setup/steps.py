"""Progress of long work: one line a step, with a live spinner where there is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)

# A function that replaces the text behind the step's title.
Tell = Callable[[str], None]


@contextmanager
def step(title: str) -> Iterator[Tell]:
    """Show that `title` is under way, and at its end how long it took.

    Yields a function that says how far it is; without a terminal that is said every 20 s.
    """
    started = time.monotonic()
    if console.is_terminal:
        with console.status(f"{title} …") as status:
            yield lambda text: status.update(f"{title} … {text}")
    else:
        console.print(f"  … {title}")
        yield _sparse(title)
    console.print(f"[green]made[/]   {title} ({time.monotonic() - started:.0f} s)")
    sys.stderr.flush()


def cached(title: str) -> None:
    """Say that this step's result was there already."""
    console.print(f"[cyan]cached[/] {title}")


def _sparse(title: str, every_seconds: float = 20.0) -> Tell:
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every_seconds:
            last = time.monotonic()
            console.print(f"  … {title}: {text}")

    return tell
