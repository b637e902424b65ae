"""Work that is done at once, each job in a thread; what it runs as commands ends with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import psutil

# How often the commands of the other jobs are ended: a job may go on to its next one.
AGAIN_SECONDS = 0.2


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Do the jobs at once; their results, in their order.

    Where one fails, or we are interrupted, the others' commands are ended, and that is raised
    when all jobs have stopped.
    """
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            _stop(futures)
            raise
    return [future.result() for future in futures]


def _stop(futures: list[Future[Any]]) -> None:
    while wait(futures, AGAIN_SECONDS).not_done:
        _end_commands()


def _end_commands() -> None:
    """End all below us, but for what has a process group of its own."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(child.pid) == os.getpgrp():
                child.terminate()
