"""TLS: clients that are slow, silent or gone, and a scrape beside them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import trustme
from exporter_fakes import FakeSource
from exporter_web import get, serving
from exporter_web_tls import connections, issue, speaking, trusting, wait_for_connections, web
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import limits, secure
from nvscope.exporter.web.config import WebConfig

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
AUTHORITY = trustme.CA()


@pytest.fixture
def tls() -> ssl.SSLContext:
    return trusting(AUTHORITY)


@pytest.fixture
def secured(tmp_path: Path) -> WebConfig:
    issue(AUTHORITY, tmp_path)
    return web(tmp_path)


def test_scrapes_amid_slow_clients(secured: WebConfig, tls: ssl.SSLContext) -> None:
    """Half of these never say a word, not even of TLS; the others begin a request."""
    beginnings = [b"POST / HTTP/1.1\r\n", POST + b"a"]
    with serving(VmCollector(FakeSource()), secured) as port, contextlib.ExitStack() as stack:
        for number in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            stack.enter_context(speaking(port, tls)).sendall(beginnings[number % 2])
        for _ in range(5):
            before = time.monotonic()
            assert get(port, "/metrics", tls=tls)[0].status == 200
            assert time.monotonic() - before < 2
        assert connections(port) >= 200
        assert threading.active_count() < 20


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nX: ", POST])
def test_a_request_that_comes_a_byte_at_a_time(
    monkeypatch: pytest.MonkeyPatch, secured: WebConfig, tls: ssl.SSLContext, beginning: bytes
) -> None:
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 1)
    with (
        serving(VmCollector(FakeSource()), secured) as port,
        speaking(port, tls, 0.2) as sock,
    ):
        sock.sendall(beginning)
        assert _closed_within(sock, 10)


def _closed_within(sock: ssl.SSLSocket, seconds: float) -> bool:
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


def test_a_handshake_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, secured: WebConfig, tls: ssl.SSLContext
) -> None:
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(secure, "CONNECTIONS", 1)
    with (
        serving(VmCollector(FakeSource()), secured) as port,
        socket.create_connection(("127.0.0.1", port), 8) as silent,
    ):
        assert silent.recv(1) == b""
        assert get(port, "/healthz", tls=tls)[0].status == 200


class _Long(Collector):
    """Twenty megabytes, more than sockets have room for."""

    def collect(self) -> Iterable[Metric]:
        for number in range(20):
            yield GaugeMetricFamily(f"long_{number}", "a" * 1_000_000, value=1)


def test_clients_that_do_not_read(
    monkeypatch: pytest.MonkeyPatch, secured: WebConfig, tls: ssl.SSLContext
) -> None:
    """More of them than there are threads, which wait for none; they are closed in time."""
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 5)
    with serving(_Long(), secured) as port, contextlib.ExitStack() as stack:
        before = time.monotonic()
        for _ in range(2 * limits.THREADS):
            lazy = stack.enter_context(speaking(port, tls))
            lazy.sendall(REQUEST * 2)  # asyncio itself has room for one page, however long
            assert lazy.recv(1) == b"H"
        assert get(port, "/healthz", tls=tls)[0].status == 200
        assert time.monotonic() - before < limits.SILENCE_SECONDS
        wait_for_connections(port, 0, seconds=limits.SILENCE_SECONDS * 1.6)


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
    secured: WebConfig,
    tls: ssl.SSLContext,
    said: bytes,
    heard: bool,
) -> None:
    """Neither a socket, a place nor a word in the log; they have read a byte, or none."""
    monkeypatch.setattr(secure, "CONNECTIONS", 1)
    with serving(VmCollector(FakeSource()), secured) as port:
        with speaking(port, tls, 0.5) as sock:
            sock.sendall(said)
            if heard:
                with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
                    sock.recv(1)
        before = time.monotonic()
        assert get(port, "/healthz", tls=tls)[0].status == 200
        wait_for_connections(port, 0)
        assert time.monotonic() - before < limits.SILENCE_SECONDS / 2
    assert time.monotonic() - before < limits.SILENCE_SECONDS
    assert not caplog.records


def test_a_bound_on_connections(monkeypatch: pytest.MonkeyPatch, secured: WebConfig) -> None:
    monkeypatch.setattr(secure, "CONNECTIONS", 2)
    with serving(VmCollector(FakeSource()), secured) as port, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        wait_for_connections(port, 2)
        with pytest.raises(AssertionError, match="2 connections, and not 3"):
            wait_for_connections(port, 3, seconds=1)
