"""Learns at once that a VM's process has ended, in a thread of its own."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Iterable, Set
from typing import Self

from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector, Way
from nvscope.probes.vms.identity import Process

# The ways, the best first; in the last, each scrape looks at every VM, as it does in any case.
SCRAPE = "scrape"
SOURCES = (Connector.name, PidFds.name, SCRAPE)

log = logging.getLogger(__name__)

_DEAF = "processes are not heard end any more; each scrape looks at them"


def best_way() -> Way | None:
    """The best that this host has; None: a scrape will find out."""
    for kind in (Connector, PidFds):
        try:
            return kind()
        except (ImportError, OSError) as error:
            log.info("no ends of processes by %s: %s", kind.name, error)
        except Exception:  # another pyroute2 may differ in any way, and is no reason not to serve
            log.warning("no ends of processes by %s", kind.name, exc_info=True)
    return None


class ExitWatcher:
    """Tells of each watched process once, at its end or later. As a context manager: is heard.

    lost: how often something may have been missed; then all processes are looked at.
    """

    def __init__(self, way: Way | None, ended: Callable[[Process], None]) -> None:
        """ended is called in the thread; without a way there is none."""
        self.lost = 0
        self._way = way
        self._failing = False  # watch() has said so
        self._ended = ended
        self._processes: dict[int, Process] = {}
        self._stop, self._stopping = os.pipe() if way else (-1, -1)
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)

    @property
    def name(self) -> str:
        """Of the way, one of SOURCES: that of no thread that has died, of whatever."""
        return self._way.name if self._way and self._thread.is_alive() else SCRAPE

    def watch(self, processes: Set[Process]) -> None:
        """From now on these, and no others; may be called by any thread."""
        self._processes = {process.pid: process for process in processes}
        if self._way is None or self.name == SCRAPE:
            return
        try:
            self._way.watch(self._processes.keys())
        except Exception:
            self.lost += 1
            if not self._failing:
                log.exception("not all ends of processes are heard; each scrape looks at all")
            self._failing = True
        else:
            self._failing = False

    def __enter__(self) -> Self:
        if self._way:
            try:
                self._thread.start()
            except RuntimeError:  # no more threads
                log.exception(_DEAF)
        return self

    def __exit__(self, *_: object) -> None:
        if self._way is None:
            return
        if self._thread.ident:
            os.write(self._stopping, b".")
            self._thread.join()
        os.close(self._stop)
        os.close(self._stopping)
        self._way.close()

    def _run(self) -> None:
        try:
            self._hear_all()
        except Exception:
            log.exception(_DEAF)

    def _hear_all(self) -> None:
        way = self._way
        assert way is not None
        poll = select.poll()
        poll.register(way.fileno(), select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while all(file != self._stop for file, _ in poll.poll()):
            self._hear(*way.read())

    def _hear(self, pids: Set[int], lost: bool) -> None:
        """A thread has ended of each of these processes; perhaps it was the last."""
        self.lost += lost
        watched = self._processes
        heard = watched.keys() if lost else watched.keys() & pids
        self._check(watched[pid] for pid in sorted(heard))

    def _check(self, processes: Iterable[Process]) -> None:
        for process in processes:
            try:
                if not process.alive():
                    self._ended(process)
            except OSError:  # too many open files, for one: the next scrape looks again
                self.lost += 1
            except Exception:
                self.lost += 1
                log.exception("process %d: its end waits for the next scrape", process.pid)
