"""Threads that each do their part of the same thing, at once and on several CPUs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

_READY_SECONDS = 60.0

Interval = tuple[int, int]  # begin and end, in ns


class Crew:
    """So many threads. A context manager.

    A part is always done by the same thread. threads: their ids (gettid); most_at_once: of the
    parts, how many were under way at one time, at the most so far.
    """

    def __init__(self, size: int) -> None:
        self.most_at_once = 0
        self._ready = threading.Barrier(size, timeout=_READY_SECONDS)
        with ExitStack() as stack:
            self._pools = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(size)]
            started = [pool.submit(threading.get_native_id) for pool in self._pools]
            self.threads = [thread.result() for thread in started]
            self._open = stack.pop_all()

    def settle(self, cpus: Sequence[int]) -> None:
        """Keep each thread on one of the CPUs from now on; they take them in turn."""
        for number, thread in enumerate(self.threads):
            os.sched_setaffinity(thread, {cpus[number % len(cpus)]})

    def at_once(self, part: Callable[[int], object]) -> None:
        """Do part(0), part(1), ..., each in its thread, from when all threads are ready.

        Returns when all have ended, and then raises what the first part raised that failed.
        """
        under_way = [
            pool.submit(self._timed, part, number) for number, pool in enumerate(self._pools)
        ]
        errors = [future.exception() for future in under_way]
        for error in errors:
            if error is not None:
                raise error
        intervals = [future.result() for future in under_way]
        self.most_at_once = max(self.most_at_once, most_at_once(intervals))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _timed(self, part: Callable[[int], object], number: int) -> Interval:
        self._ready.wait()
        begun_ns = time.perf_counter_ns()
        part(number)
        return begun_ns, time.perf_counter_ns()


def most_at_once(intervals: Iterable[Interval]) -> int:
    """How many of the intervals have a moment in common, at the most.

    >>> most_at_once([(0, 5), (4, 9), (5, 7), (20, 21)])
    2
    """
    # An end comes before a begin at the same time.
    edges = sorted(edge for begin, end in intervals for edge in ((begin, 1), (end, -1)))
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most
