"""How many connections there are at once, and which one goes when there is no more room."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

from nvscope.exporter.web.connections import limits


def room() -> int:
    """Connections that this process has files for. Linux only: /proc/self/fd."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = files - len(list(Path("/proc/self/fd").iterdir())) - limits.SPARE_FILES
    return max(1, min(limits.CONNECTIONS, free))


class Places:
    """Tasks of connections. Of those that wait for their client the oldest has to go first."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._waiting: dict[asyncio.Task[None], None] = {}  # the oldest first
        self.tasks: set[asyncio.Task[None]] = set()

    async def taken(self) -> None:
        """Wait for a place; whoever has kept us waiting longest loses theirs."""
        if self._free.locked():
            self.clear_one()
        await self._free.acquire()

    def clear_one(self) -> None:
        """End the connection that has waited for its client for longest."""
        if self._waiting:
            task = next(iter(self._waiting))
            del self._waiting[task]
            task.cancel()

    def clear(self) -> None:
        """End all that wait for their clients."""
        while self._waiting:
            self.clear_one()

    def fill(self, task: asyncio.Task[None]) -> None:
        """Give a place that was taken to a task, until its end."""
        self.tasks.add(task)
        self._waiting[task] = None
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._waiting.pop(task, None)
        self._free.release()

    @contextlib.contextmanager
    def busy(self, patience: asyncio.Timeout) -> Iterator[None]:
        """It is for us that the current task waits now: it has its place, and its time stands."""
        loop, task, ends = asyncio.get_running_loop(), asyncio.current_task(), patience.when()
        assert task is not None
        assert ends is not None
        left = ends - loop.time()
        self._waiting.pop(task, None)
        patience.reschedule(None)
        yield
        patience.reschedule(loop.time() + left)
        self._waiting[task] = None
