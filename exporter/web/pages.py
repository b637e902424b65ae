"""The pages: the metrics, a landing page with links, and whether we are well."""

from __future__ import annotations

import html

from prometheus_client import CollectorRegistry

import nvscope
from nvscope.exporter.web.message import Answer, Application, Request, line
from nvscope.exporter.web.scrapes import Scrapes

# No password is asked for this page: it says nothing of VMs.
HEALTH = "/healthz"

_LANDING = f"""<!doctype html>
<html lang="en"><head><title>nvscope</title></head>
<body><h1>nvscope</h1><p>Version {html.escape(nvscope.__version__)}.</p>
<ul><li><a href="metrics">Metrics</a></li><li><a href="healthz">Health</a></li></ul></body></html>
"""
_FIXED = {
    "/": Answer((_LANDING.encode(),), "text/html; charset=utf-8"),
    HEALTH: line(200, "ok"),
}
_NOT_FOUND = line(404, "Not found; the metrics are at /metrics.")
_ONLY_GET = line(405, "Only GET and HEAD.", ("Allow", "GET, HEAD"))


def application(registry: CollectorRegistry) -> Application:
    """Return what serves /metrics (text or OpenMetrics, gzip if asked for), /healthz and /."""
    scrapes = Scrapes(registry)

    async def app(request: Request) -> Answer:
        if request.path != "/metrics" and request.path not in _FIXED:
            return _NOT_FOUND
        if request.method not in ("GET", "HEAD"):
            return _ONLY_GET
        return _FIXED.get(request.path) or await scrapes.page(request)

    return app
