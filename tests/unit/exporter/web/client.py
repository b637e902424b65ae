"""A server on loopback, and a client, for the tests of the exporter's web side."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator

import bcrypt
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import listen, server
from nvscope.exporter.web.settings.config import WebConfig

# Of "right"; the least cost that there is. It stands in names of tests: the same salt each time.
HASH = bcrypt.hashpw(b"right", b"$2b$04$abcdefghijklmnopqrstuu").decode()


@contextlib.contextmanager
def serving(collector: Collector, web: WebConfig | None = None) -> Iterator[int]:
    """Serve a collector's metrics; gives the port."""
    registry = CollectorRegistry()
    registry.register(collector)
    with listen.listen("127.0.0.1", 0) as sock:
        authentication = Authentication(web or WebConfig())
        running = server.Server(
            authentication.around(pages.application(registry)), [sock], authentication.contexts()
        )
        running.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            running.stop()


def client(port: int, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    if tls:
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)


def get(
    port: int,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    tls: ssl.SSLContext | None = None,
    body: bytes | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = client(port, tls)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()


def raw(port: int, said: bytes) -> bytes:
    """All that comes back for these bytes, until the server ends."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(said)
        return sock.makefile("rb").read()


def basic(user: str, password: str) -> dict[str, str]:
    """The header that says who asks."""
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}
