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
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from nvscope.exporter import server
from nvscope.exporter.collector import VmCollector

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@contextlib.contextmanager
def serving(collector: Collector) -> Iterator[int]:
    registry = CollectorRegistry()
    registry.register(collector)
    with server.listen("127.0.0.1", 0) as sock:
        port = int(sock.getsockname()[1])
        running = server.Server(server.application(registry), sock)
        running.start()
        try:
            yield port
        finally:
            running.stop()


@pytest.fixture
def port() -> Iterator[int]:
    with serving(VmCollector(FakeSource())) as port:
        yield port


def get(
    port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


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
    assert b'href="metrics"' in body
    assert get(port, "/favicon.ico")[0].status == 404
    assert get(port, "/metrics/../x")[0].status == 404
    response, _ = get(port, "/metrics", method="POST")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_head_is_get_without_the_body(port: int, path: str) -> None:
    response, body = get(port, path, method="HEAD")
    same, whole = get(port, path)
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Type"] == same.headers["Content-Type"]
    assert whole


def test_health_tells_nothing_of_vms(port: int) -> None:
    response, body = get(port, "/healthz")
    assert (response.status, body) == (200, b"ok\n")


def test_health_while_the_counts_cannot_be_read() -> None:
    with serving(VmCollector(FakeSource(problem=OSError(5, "no map")))) as port:
        assert get(port, "/healthz")[0].status == 200
        assert b"nvscope_up 0.0" in get(port, "/metrics")[1]


def test_scrapes_amid_half_open_requests(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        for _ in range(5):
            began = time.monotonic()
            assert get(port, "/metrics")[0].status == 200
            assert time.monotonic() - began < 2
        assert threading.active_count() < 20
    finally:
        for connection in slow:
            connection.close()


def test_a_header_without_end(port: int) -> None:
    response, _ = get(port, "/metrics", {"X-Long": "a" * 2 * server.HEADER_BYTES})
    assert response.status == 431


def test_a_request_that_comes_a_byte_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SILENCE_SECONDS", 2)
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
    with server.listen("127.0.0.1", port):
        pass  # free again


def test_a_taken_port() -> None:
    with (
        server.listen("127.0.0.1", 0) as sock,
        pytest.raises(OSError, match="in use"),
    ):
        server.listen("127.0.0.1", sock.getsockname()[1])


def test_url_of_an_ipv6_socket() -> None:
    try:
        sock = server.listen("::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    with sock:
        assert server.url(sock) == f"http://[::1]:{sock.getsockname()[1]}/metrics"
