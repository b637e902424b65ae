"""Parts judged on this machine: one after the other, or in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from nvscope.probes.errors import LackError

T = TypeVar("T")


class Here:
    """In this process."""

    is_here = True

    def run(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """As they are asked for."""
        return ((number, function(*task)) for number, task in enumerate(tasks))


class Processes:
    """In the processes of a pool. Raises LackError if one of them is killed."""

    is_here = False

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """As they are done."""
        with _uninterrupted():  # the processes begin here
            numbers = {self._pool.submit(function, *task): n for n, task in enumerate(tasks)}
        try:
            for done in as_completed(numbers):
                yield numbers[done], done.result()
        except BrokenProcessPool:
            raise LackError(
                "a process was killed while it judged: is there not enough memory? Try a smaller -j"
            ) from None


@contextlib.contextmanager
def running(jobs: int) -> Iterator[Here | Processes]:
    """An executor with so many processes; 1: this one. None is left when the block ends."""
    if jobs == 1:
        yield Here()
        return
    others = set(multiprocessing.active_children())
    # Not forked: pyarrow has threads, which do not survive that.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield Processes(pool)
    except BaseException:
        # What they are at is for nothing now; to wait for it could take minutes. The pool itself
        # then waits for them, in a thread of its own, which has to be waited for.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        pool.shutdown()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C has to wait; for good in processes that begin meanwhile: the parent answers it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Of a process of the pool: it ends with its parent, however that does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
