"""--web-config: TLS, passwords and headers, in the format of Prometheus' exporter-toolkit.

The format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nvscope.exporter.web import headers, password, tlsconfig, yamlfile
from nvscope.exporter.web.tls import Tls
from nvscope.exporter.web.yamlfile import Value
from nvscope.probes.errors import LackError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_REFUSED = {"rate_limit": "a scrape waits for the one before it, which is the limit"}


@dataclass(frozen=True)
class WebConfig:
    """tls: None for plain HTTP; users: name -> bcrypt hash; headers: name -> value."""

    tls: Tls | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """Of the address."""
        return "https" if self.tls else "http"

    def around(self, app: WSGIApplication) -> WSGIApplication:
        """Return the application as it is to be served."""
        if self.users:
            app = password.guarded(app, password.Passwords(self.users))
        return headers.added(app, self.headers) if self.headers else app


def read(path: Path) -> WebConfig:
    """Read and check a file. Raises InputError, LackError."""
    value = yamlfile.read(path)
    if value is None:
        return WebConfig()
    keys = ("tls_server_config", "http_server_config", "basic_auth_users")
    table = value.known("a web configuration", keys, _REFUSED)
    server, http, users = (table.get(key) for key in keys)
    return WebConfig(_tls(server), _users(users), _headers(http))


def _tls(value: Value | None) -> Tls | None:
    if value is None:
        return None
    if not find_spec("hypercorn"):
        raise LackError(
            "there is no hypercorn here, which tls_server_config needs; pip install 'nvscope[tls]'"
        )
    return tlsconfig.read(value)


def _users(value: Value | None) -> dict[str, str]:
    if value is None:
        return {}
    _require_bcrypt()
    table = value.table("basic_auth_users")
    if not table:
        raise value.wrong("basic_auth_users names no user: nobody could read anything")
    return _checked(table, lambda _, text: password.require_hash(text))


def _require_bcrypt() -> None:
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        raise LackError(
            "there is no bcrypt here, which basic_auth_users needs; pip install bcrypt"
        ) from None


def _headers(value: Value | None) -> dict[str, str]:
    if value is None:
        return {}
    table = value.known("http_server_config", ("headers", "http2"), {})
    if "http2" in table and table["http2"].flag("http2"):
        raise table["http2"].wrong("http2 cannot be honoured: HTTP/1.1 is served, say false")
    if "headers" not in table:
        return {}
    return _checked(
        table["headers"].known("headers", tuple(headers.KNOWN), {}), headers.require_value
    )


def _checked(table: Mapping[str, Value], check: Callable[[str, str], str]) -> dict[str, str]:
    found = {}
    for name, value in table.items():
        try:
            found[name] = check(name, value.text(name))
        except ValueError as error:
            raise value.wrong(f"{name}: {error}") from None
    return found
