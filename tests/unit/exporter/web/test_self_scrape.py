"""What the server tells of itself: whether it serves, and where it cannot."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import listen, server
from nvscope.exporter.web.settings.config import WebConfig
from tests.unit.exporter.fakes import FakeSource
from tests.unit.exporter.web.certificates import issue, web
from tests.unit.exporter.web.client import HASH, get

AUTHORITY = trustme.CA()
CLIENTS = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"


class _Stuck(Collector):
    def __init__(self) -> None:
        self.go, self.times = threading.Event(), 0

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.times += 1
        self.go.wait(20)
        yield GaugeMetricFamily("stuck", "for a while", value=1)


@contextlib.contextmanager
def running(
    collector: Collector, web: WebConfig, address: str = "127.0.0.1"
) -> Iterator[server.Server]:
    registry = CollectorRegistry()
    registry.register(collector)
    with listen.listen(address, 0) as one, listen.listen(address, 0) as two:
        authentication = Authentication(web)
        made = server.Server(
            authentication.around(pages.application(registry)),
            [one, two],
            authentication.contexts(),
        )
        assert not made.answers(0.1)
        made.start()
        made.port = one.getsockname()[1]  # type: ignore[attr-defined]
        yield made
        made.stop()
        assert not made.answers(0.1)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_scrape_of_our_own(address: str) -> None:
    try:
        with running(VmCollector(FakeSource()), WebConfig(), address) as made:
            assert made.answers(10)
    except OSError:
        assert address == "::"
        pytest.skip("no IPv6 here")


def test_no_password_and_no_certificate_is_needed_for_it(tmp_path: Path) -> None:
    issue(AUTHORITY, tmp_path)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    asked = web(tmp_path, f"{CLIENTS}basic_auth_users:\n  p: {HASH}\n")
    with running(VmCollector(FakeSource()), asked) as made:
        assert made.answers(10)
        # Nobody else gets in this way.
        response, _ = get(made.port, "/metrics")  # type: ignore[attr-defined]
        assert response.status == 400


def test_a_scrape_that_is_stuck() -> None:
    stuck = _Stuck()
    with running(stuck, WebConfig()) as made:
        assert not made.answers(0.5)
        stuck.go.set()
        assert made.answers(10)


def test_a_scrape_of_a_clients_will_do() -> None:
    stuck = _Stuck()
    stuck.go.set()
    with running(stuck, WebConfig()) as made:
        assert get(made.port, "/metrics")[0].status == 200  # type: ignore[attr-defined]
        # It is noted once the client has taken all of it, which may be after get() has returned.
        until = time.monotonic() + 10
        while made._scraped < 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert made.answers(60)
        assert stuck.times == 1


def test_a_server_that_fails_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed = threading.Event()

    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGTERM)
        killed.set()

    def no_room() -> int:
        raise OSError("no /proc")

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(server, "room", no_room)
    with running(VmCollector(FakeSource()), WebConfig()) as made:
        assert killed.wait(10)
        assert made.failed
    assert "the server failed" in caplog.text


# Its files run out for a while, when it reads a line.
SHORT = """
import logging, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
logging.basicConfig(format="%(message)s")
from tests.unit.exporter.fakes import FakeSource
from prometheus_client import CollectorRegistry
from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.connections import listen, server
from nvscope.exporter.web import pages
registry = CollectorRegistry()
registry.register(VmCollector(FakeSource()))
with listen.listen("127.0.0.1", 0) as sock:
    http = server.Server(pages.application(registry), [sock])
    http.start()
    print(sock.getsockname()[1], flush=True)
    sys.stdin.readline()
    files = []
    try:
        while True:
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        print("none left", flush=True)
    sys.stdin.readline()
    for file in files:
        os.close(file)
    print("some left", flush=True)
    sys.stdin.readline()
    http.stop()
"""


def test_no_more_files() -> None:
    """More clients than files: the silent ones go. No file at all: one line, and a pause."""
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SHORT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
            )
        )  # fmt: skip
        assert process.stdout and process.stdin
        port = int(process.stdout.readline())
        for _ in range(80):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        for _ in range(3):
            assert get(port, "/metrics")[0].status == 200
        say(process, "none left")
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        time.sleep(2)  # long enough for many lines
        say(process, "some left")
        assert get(port, "/metrics")[0].status == 200
        _, err = process.communicate("\n", timeout=20)
    assert err == "no connection can be accepted: Too many open files\n"


def say(process: subprocess.Popen[str], answer: str) -> None:
    assert process.stdout and process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{answer}\n"
