"""Long work beside an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def in_thread(work: Callable[[], _Result]) -> asyncio.Future[_Result]:
    """Begin work in a thread of its own, for which the end of the process does not wait.

    Each takes a new one (0.1 ms), for how many there are at a time is the caller's to bound.
    """
    done: Future[_Result] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        threading.Thread(target=run, name="work", daemon=True).start()
    except RuntimeError as error:  # no more threads
        done.set_exception(error)
    return asyncio.wrap_future(done)
