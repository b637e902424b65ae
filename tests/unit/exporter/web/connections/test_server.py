"""Real HTTP requests to a real server on loopback."""

from __future__ import annotations

import configparser
import gzip
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import pages
from nvscope.exporter.web.connections import limits, listen, server
from nvscope.probes.counts.snapshot import NotifierUnmaps, ShadowUnmaps, Snapshot, VmKey
from tests.unit.exporter.fakes import LOST, FakeProc, FakeSource, durations
from tests.unit.exporter.web.client import get, raw, serving

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


def test_an_answer_ends_its_connection(port: int) -> None:
    """As it says; what was asked ahead is not answered."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(port, request * 3).count(b"HTTP/1.1 200 OK") == 1
    assert get(port, "/metrics")[0].headers["Connection"] == "close"


@pytest.mark.parametrize("names", [["nvscope_up"], ["nvscope_build_info", "nvscope_up", "none"]])
def test_some_metrics(port: int, names: list[str]) -> None:
    """Of samples by their names, and of their families by theirs."""
    query = "&".join(f"name[]={name}" for name in names)
    _, body = get(port, f"/metrics?{query}")
    found = [line.split("{")[0].split(" ")[0] for line in body.decode().splitlines()]
    assert sorted({name for name in found if name != "#"}) == sorted({*names} - {"none"})


class _Histogram(Collector):
    def collect(self) -> Iterable[Metric]:
        yield HistogramMetricFamily("long", "of it", [("1", 2), ("+Inf", 3)], sum_value=4)
        yield GaugeMetricFamily("other", "of it", value=1)


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("name[]=long", ['long_bucket{le="1"} 2.0', 'long_bucket{le="+Inf"} 3.0',
                         "long_count 3.0", "long_sum 4.0"]),
        ("name%5B%5D=long_count&name[]=long_sum", ["long_count 3.0", "long_sum 4.0"]),
        ("name[]=long_sum&name[]=other", ["long_sum 4.0", "other 1.0"]),
    ],
)  # fmt: skip
def test_a_part_of_a_family(query: str, lines: list[str]) -> None:
    with serving(_Histogram()) as port:
        text = get(port, f"/metrics?{query}", OPENMETRICS)[1].decode()
    assert text.endswith("# EOF\n")
    assert [line for line in text.splitlines() if line[0] != "#"] == lines


def test_no_metric_of_a_name(port: int) -> None:
    response, body = get(port, "/metrics?name[]=x", {"Accept-Encoding": "gzip"})
    assert (response.status, body) == (200, b"")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/openmetrics-text; version=abc", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=9.0.0,text/plain;q=0.5", "text/plain"),
        ("application/openmetrics-text;version=0.0.1", "text/plain; version=0.0.4"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("text/plain; version=;;=", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("\xff", "text/plain; version=0.0.4"),
    ],
)
def test_what_a_client_accepts(port: int, accept: str, kind: str) -> None:
    response, body = get(port, "/metrics", {"Accept": accept})
    assert response.status == 200
    assert response.headers["Content-Type"].startswith(kind)
    assert b"nvscope_up 1.0" in body


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET http://x:1/healthz HTTP/1.1", 200),
        (b"GET http://x:1/healthz?a=b HTTP/1.1", 200),
        (b"GET HTTPS://x HTTP/1.1", 200),
        (b"GET /%68ealthz HTTP/1.1", 200),
        (b"GET //healthz HTTP/1.1", 404),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET http://[ HTTP/1.1", 400),
        (b"GET /healthz?a&%ff=%zz&&=& HTTP/1.1", 200),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4", 400),
        (b"GET / HTTP/2.0", 505),
        (b"nonsense", 400),
        (b"\x00\xff\xff", 400),
    ],
)
def test_forms_of_requests(port: int, request_line: bytes, status: int) -> None:
    answer = raw(port, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_a_body_that_nobody_needs(port: int) -> None:
    """It is not waited for, and the answer is not lost."""
    before = time.monotonic()
    begun = raw(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\nabc")
    assert begun.startswith(b"HTTP/1.1 405 ") and begun.endswith(b"Only GET and HEAD.\n")
    assert time.monotonic() - before < limits.CLIENT_SECONDS / 2
    assert get(port, "/metrics", method="POST", body=b"a" * 1_000_000)[0].status == 405


def test_tls_on_a_plain_port(port: int) -> None:
    before = time.monotonic()
    answer = raw(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"http://" in answer
    assert time.monotonic() - before < limits.CLIENT_SECONDS / 2
    with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
        get(port, "/metrics", tls=ssl.create_default_context())


def test_a_header_that_is_too_long(port: int) -> None:
    assert get(port, "/metrics", {"X": "a" * limits.HEADER_BYTES})[0].status == 431


class _Broken(Collector):
    """Fails when half of the page is out."""

    def collect(self) -> Iterable[Metric]:
        yield from VmCollector(FakeSource()).collect()
        raise RuntimeError("half-way")


def test_a_collector_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    with serving(_Broken()) as port, caplog.at_level(logging.CRITICAL):
        response, body = get(port, "/metrics")
    assert response.status == 500
    assert body == b"The metrics cannot be read; the exporter's log says why.\n"


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


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    path = f"\0{tmp_path}/a" if abstract else f"{tmp_path}/a"
    registry = CollectorRegistry()
    registry.register(VmCollector(FakeSource()))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        shown = path.replace("\0", "@")
        assert listen.url(sock) == f"/metrics on unix:{shown}"
        running = server.Server(pages.application(registry), [sock])
        running.start()
        try:
            assert running.answers(10)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert b"nvscope_up 1.0" in client.makefile("rb").read()
        finally:
            running.stop()


@pytest.mark.parametrize("generate", [generate_latest, openmetrics.generate_latest])
def test_a_page_is_what_prometheus_client_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generate: Callable[[Collector], bytes]
) -> None:
    """Byte for byte, whoever puts a family into words."""
    proc = FakeProc(tmp_path / "proc")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc.root))
    proc.start(7, b'qemu\0-name\0a%s\\"\n\0')
    vm = VmKey(1, 7)
    counts = Snapshot(
        notifier_unmaps=(NotifierUnmaps(vm, durations({3: 5, 12: 10**7})),),
        shadow_unmaps=(ShadowUnmaps(vm, "full", "notifier", 1 << 50, durations({20: 3})),),
        lost=LOST,
    )
    families = VmCollector(FakeSource(counts)).collect()
    registry = CollectorRegistry()
    registry.register(_Still(families))
    kind = OPENMETRICS if generate is openmetrics.generate_latest else {}
    with serving(_Still(families)) as port:
        assert get(port, "/metrics", kind)[1] == generate(registry)


class _Still(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def test_no_h11_with_known_holes_will_do() -> None:
    """Before 0.16 it took what ended no chunk for its end (CVE-2025-43859)."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[5] / "setup.cfg")
    assert "h11 >= 0.16" in setup["options"]["install_requires"].splitlines()
