"""Slow work by turns: who is next, who is too many, and what a client that goes leaves behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from nvscope.exporter.web.access import turns
from nvscope.exporter.web.access.turns import BusyError, Turns
from tests.unit.exporter.web.client import HASH

WAIT_SECONDS = 10


class Job:
    """Work that waits to be let go; order: of all jobs' beginnings."""

    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self._order.append(self._name)
        self.begun.set()
        return self.go_on.wait(WAIT_SECONDS)


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await story

    asyncio.run(bounded())


async def _until_begun(job: Job) -> None:
    while not job.begun.is_set():
        await asyncio.sleep(0.001)


async def _queued(
    queue: Turns, *clients: tuple[str, Job], user: bytes = b""
) -> list[asyncio.Task[bool]]:
    """Clients that ask one after the other."""
    tasks = []
    for peer, job in clients:
        tasks.append(asyncio.create_task(queue.done(peer, user, job)))
        await asyncio.sleep(0)
    return tasks


def test_each_address_in_its_turn() -> None:
    async def story() -> None:
        order: list[str] = []
        asked = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
        jobs = [(f"192.0.2.{name[0]}", Job(order, name)) for name in asked]
        tasks = await _queued(Turns(), *jobs)
        for _, job in jobs:
            job.go_on.set()
        assert await asyncio.gather(*tasks) == [True] * 7
        assert order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"], "a1 began before a2 came"

    run(story())


def test_users_of_an_address_in_their_turn_and_some_first() -> None:
    async def story() -> None:
        order: list[str] = []
        queue, jobs = Turns(), {name: Job(order, name) for name in ("0", "a1", "a2", "b", "1")}
        tasks = await _queued(queue, *(("x", jobs[name]) for name in ("0", "a1", "a2")))
        await _until_begun(jobs["0"])
        tasks += await _queued(queue, ("x", jobs["b"]), user=b"b")
        tasks.append(asyncio.create_task(queue.done("x", b"", jobs["1"], first=True)))
        await asyncio.sleep(0)
        for job in jobs.values():
            job.go_on.set()
        assert await asyncio.gather(*tasks) == [True] * 5
        assert order == ["0", "1", "a1", "b", "a2"]

    run(story())


def test_whoever_has_most_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 3)

    async def story() -> None:
        order: list[str] = []
        queue, first = Turns(), Job(order, "first")
        tasks = await _queued(queue, ("x", first))
        await _until_begun(first)
        asked = ["a1", "a2", "a3", "a4", "b1", "c1", "d1"]
        jobs = [(name[0], Job(order, name)) for name in asked]
        tasks += await _queued(queue, *jobs)
        for job in (first, *(job for _, job in jobs)):
            job.go_on.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [name for name, result in zip(asked, done[1:], strict=True) if result is True] == [
            "a1",
            "b1",
            "c1",
        ]
        assert sum(isinstance(result, BusyError) for result in done) == 4
        assert order == ["first", "a1", "b1", "c1"]

    run(story())


def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 0.05)

    async def story() -> None:
        order: list[str] = []
        queue, first, second, third = Turns(), *(Job(order, name) for name in "123")
        tasks = await _queued(queue, ("x", first), ("y", second))
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in done] == [TimeoutError] * 2
        first.go_on.set()
        third.go_on.set()
        assert await queue.done("z", b"", third)
        assert order == ["1", "3"], "nobody waits for the second any more"

    assert turns._PATIENCE_SECONDS < 10
    run(story())


def test_a_client_that_goes_takes_nobodys_turn() -> None:
    async def story() -> None:
        order: list[str] = []
        queue, first, second, third = Turns(), *(Job(order, name) for name in "123")
        tasks = await _queued(queue, ("x", first), ("y", second), ("z", third))
        await _until_begun(first)
        for task in tasks[:2]:
            task.cancel()
        for job in (first, second, third):
            job.go_on.set()
        assert await tasks[2]
        assert order == ["1", "3"]

    run(story())


def test_no_more_threads_is_an_error_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        queue, job = Turns(), Job([], "1")
        job.go_on.set()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await queue.done("x", b"", job)
        assert await queue.done("x", b"", job)

    run(story())


def test_the_process_ends_well_within_a_comparison() -> None:
    """bcrypt's compiled code would abort it, if its thread were one that is not waited for."""
    dear = HASH.replace("$04$", "$12$")
    code = f"""
import asyncio, threading
from nvscope.exporter.web.access.password import Passwords
async def main():
    asyncio.create_task(Passwords({{"prom": {dear!r}}}).fit(b"prom", b"wrong", ""))
    await asyncio.sleep(0.1)
    print([each.daemon for each in threading.enumerate() if each.name.startswith("turns")])
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[False]\n", "")
