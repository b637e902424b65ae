"""The WSGI application: the metrics, a landing page with links, and whether we are well."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app

import nvscope

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Whoever may connect may ask for it; it says nothing of VMs.
HEALTH = "/healthz"

_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_LANDING = f"""<!doctype html>
<html lang="en"><head><title>nvscope</title></head>
<body><h1>nvscope</h1><p>Version {html.escape(nvscope.__version__)}.</p>
<ul><li><a href="metrics">Metrics</a></li><li><a href="healthz">Health</a></li></ul></body></html>
"""


def application(registry: CollectorRegistry) -> WSGIApplication:
    """Return what serves /metrics (text or OpenMetrics, gzip if asked for), /healthz and /."""
    return _without_bodies(
        _routes(
            {
                "/": _page(_HTML, _LANDING),
                HEALTH: _page(_TEXT, "ok\n"),
                "/metrics": make_wsgi_app(registry),
            }
        )
    )


def refuse(
    start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    """Answer with a line of text; its end of line is added here."""
    body = f"{text}\n".encode()
    start_response(status, [*_described(_TEXT, body), *headers])
    return [body]


def _described(kind: str, body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", kind), ("Content-Length", str(len(body)))]


def _page(kind: str, text: str) -> WSGIApplication:
    body = text.encode()

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", _described(kind, body))
        return [body]

    return app


def _routes(pages: dict[str, WSGIApplication]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ.get("PATH_INFO", "/"))
        if page is None:
            return refuse(
                start_response, "404 Not Found", "Not found; the metrics are at /metrics."
            )
        if environ["REQUEST_METHOD"] != "GET":
            allow = ("Allow", "GET, HEAD")
            return refuse(start_response, "405 Method Not Allowed", "Only GET and HEAD.", allow)
        return page(environ, start_response)

    return app


def _without_bodies(app: WSGIApplication) -> WSGIApplication:
    """Answer HEAD as GET would be, with the length that its body would have."""

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return app(environ, start_response)
        said: list[tuple[str, list[tuple[str, str]]]] = []

        def keep(status: str, headers: list[tuple[str, str]], *_: object) -> object:
            said.append((status, headers))
            return None

        size = sum(map(len, app({**environ, "REQUEST_METHOD": "GET"}, keep)))  # type: ignore[arg-type]
        status, headers = said[-1]
        others = [each for each in headers if each[0].lower() != "content-length"]
        start_response(status, [*others, ("Content-Length", str(size))])
        return [b""]

    return outer
