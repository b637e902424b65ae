"""Real HTTP requests to a real server on loopback."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
from exporter_fakes import FakeSource
from exporter_web import get, serving
from prometheus_client import Metric
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import limits, listen

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture
def port() -> Iterator[int]:
    with serving(VmCollector(FakeSource())) as port:
        yield port


def test_text(port: int) -> None:
    response, body = get(port, "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert b"\nnvscope_up 1.0\n" in body


def test_openmetrics(port: int) -> None:
    response, body = get(port, "/metrics", OPENMETRICS)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_gzip(port: int) -> None:
    response, body = get(port, "/metrics", {"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"nvscope_up" in gzip.decompress(body)


def test_other_paths(port: int) -> None:
    response, body = get(port, "/")
    assert response.status == 200
    assert b'href="metrics"' in body and b'href="healthz"' in body
    assert get(port, "/favicon.ico")[0].status == 404
    assert get(port, "/metrics/../x")[0].status == 404
    response, _ = get(port, "/metrics", method="POST")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_health(port: int) -> None:
    response, body = get(port, "/healthz")
    assert (response.status, body) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/nothing"])
def test_head_is_get_without_a_body(port: int, path: str) -> None:
    wanted, body = get(port, path)
    response, nothing = get(port, path, method="HEAD")
    assert (response.status, nothing) == (wanted.status, b"")
    assert response.headers["Content-Type"] == wanted.headers["Content-Type"]
    # Durations on the page of metrics have more digits or less.
    assert int(response.headers["Content-Length"]) == pytest.approx(len(body), abs=200)


def test_two_heads_on_one_connection(port: int) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for path in ("/metrics", "/"):
            client.request("HEAD", path)
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"")


def test_a_header_that_is_too_long(port: int) -> None:
    assert get(port, "/metrics", {"X": "a" * limits.HEADER_BYTES})[0].status == 431


def test_scrapes_amid_slow_clients(port: int) -> None:
    beginnings = [
        b"",
        b"GET /metrics HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\na",
    ]
    with contextlib.ExitStack() as slow:
        for number in range(200):
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(beginnings[number % len(beginnings)])
        for _ in range(5):
            before = time.monotonic()
            assert get(port, "/metrics")[0].status == 200
            assert time.monotonic() - before < 2
        assert threading.active_count() < 20


def test_a_request_that_comes_a_byte_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 2)
    with serving(VmCollector(FakeSource())) as port:
        slow = socket.create_connection(("127.0.0.1", port), timeout=0.2)
        closed_by = time.monotonic() + 10
        with pytest.raises(ConnectionError):
            while time.monotonic() < closed_by:
                slow.sendall(b"G")
                with contextlib.suppress(TimeoutError):
                    slow.recv(1)
        slow.close()


class _Broken(Collector):
    """Fails when half of the page is out."""

    def collect(self) -> Iterable[Metric]:
        yield from VmCollector(FakeSource()).collect()
        raise RuntimeError("half-way")


def test_a_collector_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    with serving(_Broken()) as port, caplog.at_level(logging.CRITICAL):
        response, body = get(port, "/metrics")
    assert response.status == 500
    assert b"nvscope_up" not in body


def test_stop_closes_open_connections_at_once() -> None:
    with serving(VmCollector(FakeSource())) as port:
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        get(port, "/metrics")
        before = time.monotonic()
    assert time.monotonic() - before < 5
    assert idle.recv(1) == b""
    idle.close()
    with listen.listen("127.0.0.1", port):
        pass  # free again


def test_a_taken_port() -> None:
    with (
        listen.listen("127.0.0.1", 0) as sock,
        pytest.raises(OSError, match="in use"),
    ):
        listen.listen("127.0.0.1", sock.getsockname()[1])


def test_url_of_an_ipv6_socket() -> None:
    try:
        sock = listen.listen("::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    with sock:
        assert listen.url(sock) == f"http://[::1]:{sock.getsockname()[1]}/metrics"
