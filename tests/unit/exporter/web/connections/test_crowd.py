"""Hundreds of bad clients at once, of each sort, and scrapes beside them."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import limits, listen, server
from tests.unit.exporter.fakes import FakeSource
from tests.unit.exporter.web.certificates import (
    connections,
    issue,
    trusting,
    wait_for_connections,
    web,
)
from tests.unit.exporter.web.client import get, serving
from tests.unit.exporter.web.connections import crowd

NUMBER = 500
AUTHORITY = trustme.CA()
PLAIN = [sort for sort in crowd.SORTS if sort not in crowd.BEFORE_TLS]


@contextlib.contextmanager
def crowds(port: int, sorts: list[str], *, secure: bool) -> Iterator[None]:
    """Bad clients of these sorts, so many of each."""
    command = [sys.executable, crowd.__file__, str(port)]
    more = ["tls"] if secure else []
    with contextlib.ExitStack() as stack:
        there = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, sort, str(NUMBER), *more],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for sort in sorts
        ]  # fmt: skip
        for each in there:
            assert each.stdout is not None
            assert each.stdout.readline() == "there\n"
        yield  # their input ends with the stack


def scrape(port: int, tls: ssl.SSLContext | None) -> float:
    """How long one takes, seconds."""
    before = time.monotonic()
    response, body = get(port, "/metrics", tls=tls)
    assert (response.status, b"nvscope_up 1.0" in body) == (200, True)
    return time.monotonic() - before


@pytest.mark.parametrize("sort", PLAIN)
def test_a_scrape_beside_a_crowd(sort: str) -> None:
    with serving(VmCollector(FakeSource())) as port, crowds(port, [sort], secure=False):
        assert_scraped(port, None)


@pytest.mark.parametrize("sort", crowd.SORTS)
def test_a_scrape_by_tls_beside_a_crowd(tmp_path: Path, sort: str) -> None:
    issue(AUTHORITY, tmp_path)
    with (
        serving(VmCollector(FakeSource()), web(tmp_path)) as port,
        crowds(port, [sort], secure=True),
    ):
        assert_scraped(port, trusting(AUTHORITY))


def assert_scraped(port: int, tls: ssl.SSLContext | None) -> None:
    """All at once had been made to wait before; the machine may be busy with other tests."""
    took = sorted(scrape(port, tls) for _ in range(5))
    assert took[2] < 1, took
    assert connections(port) <= limits.CONNECTIONS + 1


def test_all_sorts_at_once() -> None:
    """4,000 connections have been made, and have gone when their time was over."""
    with serving(VmCollector(FakeSource())) as port, crowds(port, PLAIN, secure=False):
        scrape(port, None)  # after those that came before it
        assert_scraped(port, None)
        wait_for_connections(port, 0, seconds=limits.CLIENT_SECONDS + 2)


@pytest.mark.parametrize("secure", [False, True])
def test_the_stop_waits_for_no_crowd(tmp_path: Path, secure: bool) -> None:
    issue(AUTHORITY, tmp_path)
    registry = CollectorRegistry()
    registry.register(VmCollector(FakeSource()))
    contexts = Authentication(web(tmp_path)).contexts() if secure else None
    with listen.listen("127.0.0.1", 0) as sock:
        running = server.Server(pages.application(registry), [sock], contexts)
        running.start()
        with crowds(sock.getsockname()[1], ["idle", "unread", "pipelined"], secure=secure):
            before = time.monotonic()
            running.stop()
            assert time.monotonic() - before < 5
