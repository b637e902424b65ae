"""Users and headers that change while requests are served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme
from prometheus_client import CollectorRegistry

from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import listen
from nvscope.exporter.web.connections.server import Server
from nvscope.exporter.web.message import Request
from nvscope.exporter.web.settings import config
from nvscope.exporter.web.settings.config import WebConfig
from nvscope.probes.errors import InputError
from tests.unit.exporter.web.certificates import issue, written
from tests.unit.exporter.web.client import HASH, basic, get

USERS = f"basic_auth_users:\n  prom: {HASH}\n"
HEADERS = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"


@contextlib.contextmanager
def served(authentication: Authentication) -> Iterator[int]:
    with listen.listen("127.0.0.1", 0) as sock:
        app = authentication.around(pages.application(CollectorRegistry()))
        http = Server(app, [sock], authentication.contexts())
        http.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            http.stop()


def test_users_and_headers_change(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("http_server_config:\n")
    authentication = Authentication(config.read(path), path)
    with served(authentication) as port:
        assert get(port, "/")[0].status == 200
        path.write_text(USERS + HEADERS)
        assert get(port, "/")[0].status == 200  # not read yet
        authentication.reread()
        assert get(port, "/")[0].status == 401
        assert get(port, "/", basic("prom", "right"))[0].headers["X-Frame-Options"] == "deny"

        path.write_text(USERS.replace("prom", "other"))
        authentication.reread()
        assert get(port, "/", basic("prom", "right"))[0].status == 401  # was let in before
        response, _ = get(port, "/", basic("other", "right"))
        assert (response.status, "X-Frame-Options" in response.headers) == (200, False)

        path.write_text(USERS[:-2])
        with pytest.raises(InputError, match="no bcrypt hash"):
            authentication.reread()
        assert get(port, "/", basic("other", "right"))[0].status == 200


def test_whoever_was_let_in_stays_so_when_headers_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web.yml"
    path.write_text(USERS)
    authentication = Authentication(config.read(path), path)
    with served(authentication) as port:
        assert get(port, "/", basic("prom", "right"))[0].status == 200
        path.write_text(USERS + HEADERS)
        authentication.reread()
        monkeypatch.setattr(bcrypt, "checkpw", lambda *_: pytest.fail("compared again"))
        response, _ = get(port, "/", basic("prom", "right"))
        assert (response.status, response.headers["X-Frame-Options"]) == (200, "deny")


def test_our_own_scrapes_need_no_password() -> None:
    authentication = Authentication(WebConfig(users={"prom": HASH}))
    app = authentication.around(pages.application(CollectorRegistry()))

    async def asked(*, own: bool) -> int:
        return (await app(Request("GET", "/metrics", own=own))).status

    assert [asyncio.run(asked(own=own)) for own in (True, False)] == [200, 401]


def test_tls_waits_for_a_new_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    issue(trustme.CA(), tmp_path)
    path = written(tmp_path, HEADERS)
    authentication = Authentication(WebConfig(), path)
    with served(authentication) as port, caplog.at_level(logging.WARNING):
        authentication.reread()
        assert get(port, "/")[0].headers["X-Frame-Options"] == "deny"
    assert caplog.messages == [f"tls_server_config of {path} changes with the next start only"]
