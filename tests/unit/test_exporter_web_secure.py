"""TLS on loopback: who is served, and certificates that change."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trustme
from exporter_fakes import FakeSource
from exporter_web import HASH, basic, client, get, serving
from exporter_web_tls import issue, speaking, trusting, web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import limits, listen, pages
from nvscope.exporter.web import serving as servers
from nvscope.exporter.web.door import Door

CLIENTS = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"
REFUSED = (ssl.SSLError, ConnectionError)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    return trusting(authority)


@pytest.fixture
def folder(authority: trustme.CA, tmp_path: Path) -> Path:
    issue(authority, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with serving(VmCollector(FakeSource()), web(folder)) as port:
        yield port


def test_pages(port: int, tls: ssl.SSLContext) -> None:
    response, body = get(port, "/metrics", tls=tls)
    assert (response.status, b"nvscope_up 1.0" in body) == (200, True)
    assert "Server" not in response.headers
    assert get(port, "/", tls=tls)[0].status == 200
    assert get(port, "/healthz", tls=tls)[1] == b"ok\n"
    assert get(port, "/x", tls=tls)[0].status == 404
    assert get(port, "/metrics", method="POST", tls=tls)[0].status == 405


def test_one_connection_for_many(port: int, tls: ssl.SSLContext) -> None:
    with contextlib.closing(client(port, tls)) as connection:
        for method in ("GET", "HEAD", "HEAD", "GET"):
            connection.request(method, "/metrics")
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (200, method == "GET")
            assert connection.sock is not None  # it stays open


def test_a_header_that_is_too_long(port: int, tls: ssl.SSLContext) -> None:
    long = {"X": "a" * limits.HEADER_BYTES}
    assert get(port, "/metrics", long, tls=tls)[0].status == 431


def test_a_body_that_is_too_long(port: int, tls: ssl.SSLContext) -> None:
    with contextlib.closing(client(port, tls)) as connection:
        connection.request("POST", "/", b"a" * (limits.BODY_BYTES + 1))
        assert connection.getresponse().status == 400


def test_passwords(folder: Path, tls: ssl.SSLContext) -> None:
    asked = web(folder, f"basic_auth_users:\n  p: {HASH}\n")
    with serving(VmCollector(FakeSource()), asked) as port:
        response, _ = get(port, "/metrics", tls=tls)
        assert (response.status, response.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert get(port, "/metrics", basic("p", "wrong"), tls=tls)[0].status == 401
        assert get(port, "/metrics", basic("p", "right"), tls=tls)[0].status == 200
        assert get(port, "/healthz", tls=tls)[0].status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("signer", [None, trustme.CA()])
def test_clients_that_must_have_a_certificate(
    folder: Path, authority: trustme.CA, version: ssl.TLSVersion, signer: trustme.CA | None
) -> None:
    """One has none, or one that somebody else has signed."""
    other = trusting(authority, signer)
    other.maximum_version = version
    with serving(VmCollector(FakeSource()), web(folder, CLIENTS)) as port:
        with pytest.raises(REFUSED):
            get(port, "/healthz", tls=other)
        assert get(port, "/metrics", tls=trusting(authority, authority))[0].status == 200


def test_clients_that_may_have_one(folder: Path, authority: trustme.CA) -> None:
    may = CLIENTS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    with serving(VmCollector(FakeSource()), web(folder, may)) as port:
        assert get(port, "/metrics", tls=trusting(authority))[0].status == 200
        assert get(port, "/metrics", tls=trusting(authority, authority))[0].status == 200
        with pytest.raises(REFUSED):
            get(port, "/metrics", tls=trusting(authority, trustme.CA()))


def test_versions_and_ciphers(folder: Path, authority: trustme.CA) -> None:
    more = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"
    tls = trusting(authority)
    with serving(VmCollector(FakeSource()), web(folder, more)) as port:
        with speaking(port, tls) as sock:
            assert sock.version() == "TLSv1.2"
            assert (sock.cipher() or ("",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(REFUSED):
            get(port, "/metrics", tls=tls)


def test_a_least_version(folder: Path, authority: trustme.CA) -> None:
    tls = trusting(authority)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        serving(VmCollector(FakeSource()), web(folder, "  min_version: TLS13\n")) as port,
        pytest.raises(REFUSED),
    ):
        get(port, "/metrics", tls=tls)


def test_plain_http_gets_nothing(port: int) -> None:
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        get(port, "/healthz")


def test_a_certificate_that_changes(
    folder: Path, authority: trustme.CA, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    cert = folder / "cert.pem"
    with serving(VmCollector(FakeSource()), web(folder)) as port:
        first = _served(port, tls)
        cert.write_text("half of a")
        assert [_served(port, tls) for _ in range(3)] == [first] * 3
        assert [each.getMessage() for each in caplog.records] == [
            f"{folder / 'web.yml'} line 2: {cert} has no certificate in PEM;"
            " the certificate stays as it was"
        ]
        caplog.clear()
        issue(authority, folder)
        assert first != _served(port, tls) == _served(port, tls)
        assert [each.getMessage() for each in caplog.records] == [f"read {cert} again"]


def _served(port: int, tls: ssl.SSLContext) -> bytes | None:
    with speaking(port, tls) as sock:
        return sock.getpeercert(binary_form=True)


class _Broken(Collector):
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("half", "of it", value=1)
        raise RuntimeError("half-way")


def test_a_collector_that_fails_is_a_500(
    folder: Path, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.CRITICAL),
        serving(_Broken(), web(folder)) as port,
    ):
        response, body = get(port, "/metrics", tls=tls)
    assert (response.status, body) == (500, b"")


def test_stop_closes_open_connections_at_once(folder: Path, tls: ssl.SSLContext) -> None:
    with contextlib.ExitStack() as stack:
        with serving(VmCollector(FakeSource()), web(folder)) as port:
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            idle = stack.enter_context(contextlib.closing(client(port, tls)))
            idle.request("GET", "/healthz")
            assert idle.getresponse().read() == b"ok\n"
            before = time.monotonic()
        assert time.monotonic() - before < 5
        assert silent.recv(1) == b""
        assert idle.sock.recv(1) == b""
    with listen.listen("127.0.0.1", port):
        pass  # free again


class _Slow(Collector):
    """A scrape that takes until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.asked.set()
        self.go.wait(20)
        yield GaugeMetricFamily("slow", "in the end", value=1)


def test_stop_finishes_a_scrape(folder: Path, tls: ssl.SSLContext) -> None:
    slow = _Slow()
    bodies: list[bytes] = []
    with serving(slow, web(folder)) as port:
        scrape = threading.Thread(target=lambda: bodies.append(get(port, "/metrics", tls=tls)[1]))
        scrape.start()
        assert slow.asked.wait(10)
        threading.Timer(0.5, slow.go.set).start()
    scrape.join(10)
    assert b"slow 1.0" in bodies[0]


def test_whether_it_answers(folder: Path) -> None:
    app = pages.application(CollectorRegistry())
    with listen.listen("127.0.0.1", 0) as sock:
        running = servers.serving(app, sock, Door(web(folder)))
        assert not running.answers(0.1)
        running.start()
        assert running.answers(10)
        running.stop()
        assert not running.answers(0.1)
