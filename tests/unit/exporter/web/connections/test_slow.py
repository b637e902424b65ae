"""Clients that are slow, silent or gone, over HTTP and over TLS, and a scrape beside them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trustme
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.connections import limits, listen
from nvscope.exporter.web.settings.config import WebConfig
from tests.unit.exporter.fakes import FakeSource
from tests.unit.exporter.web.certificates import (
    connections,
    issue,
    trusting,
    wait_for_connections,
    web,
)
from tests.unit.exporter.web.client import get, serving

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
AUTHORITY = trustme.CA()
GONE = (ConnectionError, ssl.SSLError, TimeoutError)


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return trusting(AUTHORITY) if request.param == "https" else None


@pytest.fixture
def asked(tls: ssl.SSLContext | None, tmp_path: Path) -> WebConfig:
    if tls is None:
        return WebConfig()
    issue(AUTHORITY, tmp_path)
    return web(tmp_path)


@contextlib.contextmanager
def speaking(port: int, tls: ssl.SSLContext | None, timeout: float = 10) -> Iterator[socket.socket]:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if tls:
            sock = stack.enter_context(tls.wrap_socket(sock, server_hostname="127.0.0.1"))
        sock.settimeout(timeout)
        yield sock


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX: ", POST])
def test_a_request_that_comes_a_byte_at_a_time(
    monkeypatch: pytest.MonkeyPatch, asked: WebConfig, tls: ssl.SSLContext | None, beginning: bytes
) -> None:
    monkeypatch.setattr(limits, "CLIENT_SECONDS", 1)
    with serving(VmCollector(FakeSource()), asked) as port, speaking(port, tls, 0.2) as sock:
        sock.sendall(beginning)
        assert _closed_within(sock, 10)


def _closed_within(sock: socket.socket, seconds: float) -> bool:
    """Whether it is closed while bytes are sent."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while time.monotonic() < until:
            sock.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                if not sock.recv(4096):
                    return True
        return False
    return True


def test_the_silent_one_goes_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch, asked: WebConfig, tls: ssl.SSLContext | None
) -> None:
    """The one that came first, and at once."""
    monkeypatch.setattr(limits, "CONNECTIONS", 2)
    with serving(VmCollector(FakeSource()), asked) as port, contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in "ab"
        )
        wait_for_connections(port, 2)
        before = time.monotonic()
        assert get(port, "/healthz", tls=tls)[0].status == 200
        with contextlib.suppress(ConnectionError):
            assert first.recv(1) == b""
        assert time.monotonic() - before < limits.CLIENT_SECONDS / 2
        second.settimeout(0.1)
        with pytest.raises(TimeoutError):
            second.recv(1)


class _Long(Collector):
    """Twenty megabytes, more than sockets have room for."""

    def collect(self) -> Iterable[Metric]:
        for number in range(20):
            yield GaugeMetricFamily(f"long_{number}", "a" * 1_000_000, value=1)


def test_clients_that_do_not_read(
    monkeypatch: pytest.MonkeyPatch, asked: WebConfig, tls: ssl.SSLContext | None
) -> None:
    """They are closed in time, whatever they ask ahead."""
    monkeypatch.setattr(limits, "CLIENT_SECONDS", 3)
    with serving(_Long(), asked) as port, contextlib.ExitStack() as stack:
        before = time.monotonic()
        for number in range(6):
            lazy = stack.enter_context(speaking(port, tls))
            lazy.sendall(REQUEST * (1 + number % 2 * 200))
            assert lazy.recv(1) == b"H"
        assert get(port, "/healthz", tls=tls)[0].status == 200
        assert time.monotonic() - before < limits.CLIENT_SECONDS
        wait_for_connections(port, 0, seconds=limits.CLIENT_SECONDS + 2)


UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: "
ODD = {
    "nothing": b"",
    "half": b"GET /",
    "whole": REQUEST,
    "many": REQUEST * 50,
    "no-body": POST,
    "continue": POST.replace(b"Host", b"Expect: 100-continue\r\nHost"),
    "chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\na",
    "garbage": b"\0\xff\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c": UPGRADE + b"h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "websocket": UPGRADE
    + b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n",
}


@pytest.mark.parametrize("said", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("heard", [True, False])
def test_clients_that_go_leave_nothing(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: WebConfig,
    tls: ssl.SSLContext | None,
    said: bytes,
    heard: bool,
) -> None:
    """Neither a socket, a place nor a word in the log; they have read a byte, or none."""
    monkeypatch.setattr(limits, "CONNECTIONS", 1)
    with serving(VmCollector(FakeSource()), asked) as port:
        with speaking(port, tls, 0.5) as sock:
            sock.sendall(said)
            if heard:
                with contextlib.suppress(*GONE):
                    sock.recv(1)
        before = time.monotonic()
        assert get(port, "/healthz", tls=tls)[0].status == 200
        wait_for_connections(port, 0)
        assert time.monotonic() - before < limits.CLIENT_SECONDS / 2
    assert time.monotonic() - before < limits.CLIENT_SECONDS
    assert not caplog.records


class _Slow(Collector):
    """A scrape that takes until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go, self.times = threading.Event(), threading.Event(), 0

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.times += 1
        self.asked.set()
        self.go.wait(20)
        yield GaugeMetricFamily("slow", "in the end", value=self.times)


def test_those_who_wait_share_a_reading(asked: WebConfig, tls: ssl.SSLContext | None) -> None:
    """It is later than each of them, and whoever has gone meanwhile has no reading of their own."""
    slow = _Slow()
    bodies: list[bytes] = []
    with serving(slow, asked) as port, contextlib.ExitStack() as stack:
        for _ in range(10):
            gone = stack.enter_context(speaking(port, tls))
            gone.sendall(REQUEST * 95)
        assert slow.asked.wait(10)
        scrapes = [
            threading.Thread(target=lambda: bodies.append(get(port, "/metrics", tls=tls)[1]))
            for _ in range(5)
        ]
        for scrape in scrapes:
            scrape.start()
        wait_for_connections(port, 15)
        stack.close()
        time.sleep(0.2)  # the last requests are on their way
        slow.go.set()
        for scrape in scrapes:
            scrape.join(10)
        wait_for_connections(port, 0)
    # Three, where the first reading began before all that are gone had asked.
    assert slow.times in (2, 3)
    assert {body.splitlines()[-1] for body in bodies} == {b"slow %d.0" % slow.times}


def test_stop_finishes_a_scrape(asked: WebConfig, tls: ssl.SSLContext | None) -> None:
    slow = _Slow()
    bodies: list[bytes] = []
    with serving(slow, asked) as port:
        scrape = threading.Thread(target=lambda: bodies.append(get(port, "/metrics", tls=tls)[1]))
        scrape.start()
        assert slow.asked.wait(10)
        threading.Timer(0.5, slow.go.set).start()
    scrape.join(10)
    assert b"slow 1.0" in bodies[0]


def test_stop_waits_for_no_scrape_for_ever(asked: WebConfig, tls: ssl.SSLContext | None) -> None:
    slow = _Slow()
    with contextlib.ExitStack() as stack:
        with serving(slow, asked) as port:
            client = stack.enter_context(speaking(port, tls))
            client.sendall(REQUEST)
            assert slow.asked.wait(10)
            before = time.monotonic()
        assert time.monotonic() - before < limits.STOP_SECONDS + 1
        slow.go.set()


def test_stop_closes_open_connections_at_once(asked: WebConfig, tls: ssl.SSLContext | None) -> None:
    with contextlib.ExitStack() as stack:
        with serving(VmCollector(FakeSource()), asked) as port:
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            half = stack.enter_context(speaking(port, tls))
            half.sendall(REQUEST[:20])
            wait_for_connections(port, 2)
            before = time.monotonic()
        assert time.monotonic() - before < 2
        for each in (silent, half):
            with contextlib.suppress(*GONE):
                assert each.recv(1) == b""
    assert connections(port) == 0
    with listen.listen("127.0.0.1", port):
        pass  # free again
