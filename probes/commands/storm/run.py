"""Calls at a steady rate until it is time to stop, and what came of them."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nvscope.probes.commands.storm.memory import PAGE_BYTES
from nvscope.probes.commands.storm.ways import Way

# The VM has ended: its process is gone, or its files in /proc are.
_GONE = frozenset({errno.ESRCH, errno.ENOENT})


@dataclass
class Tally:
    """What was done so far. pages: taken; errors: name of an errno -> calls; ended: the VM has."""

    calls: int = 0
    pages: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    ended: bool = False

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs; size in bytes, time in seconds."""
        return {
            "calls": self.calls,
            "pages": self.pages,
            "bytes": self.pages * PAGE_BYTES,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 3),
            "errors": dict(self.errors),
            "vm_ended": self.ended,
        }

    def text(self) -> str:
        """One line."""
        failed = ", ".join(f"{name} {count:,}" for name, count in sorted(self.errors.items()))
        return (
            f"{self.calls:,} calls in {self.seconds:.1f} s ({self.rate:,.1f} a second):"
            f" {self.pages:,} pages, {self.pages * PAGE_BYTES:,} bytes; errors: {failed or 'none'}"
        )


def storm(
    way: Way,
    rate: float,
    duration: float | None,
    stopped: Callable[[float], bool],
    show: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Call until the time is over, the VM has ended, or it is stopped.

    rate: calls per second; duration: seconds, None: no limit. stopped: waits so many seconds at
    most; whether somebody wants an end. A call that comes too late is not made up for by haste.
    """
    tally, began = Tally(), time.monotonic()
    due = began
    while not tally.ended:
        now = time.monotonic()
        left = float("inf") if duration is None else began + duration - now
        if left <= 0 or stopped(max(0.0, min(left, due - now))):
            break
        if time.monotonic() < due:
            continue
        _call(way, tally)
        due = max(due + 1 / rate, time.monotonic())
        tally.seconds = time.monotonic() - began
        show(tally)
    tally.seconds = time.monotonic() - began
    return tally


def _call(way: Way, tally: Tally) -> None:
    tally.calls += 1
    try:
        tally.pages += way.call()
    except OSError as error:
        tally.ended = error.errno in _GONE
        tally.errors[errno.errorcode.get(error.errno or 0, str(error.errno))] += 1
