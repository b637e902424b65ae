"""--web-config: TLS, passwords and headers, in the format of Prometheus' exporter-toolkit.

The format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md;
what of it is refused, and why: docs/web-configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from nvscope.exporter.web.access import password
from nvscope.exporter.web.settings import headers, tlsconfig, yamlfile
from nvscope.exporter.web.settings.tls import Tls
from nvscope.exporter.web.settings.yamlfile import Value
from nvscope.probes.errors import LackError

# As Go's time.ParseDuration and go-yaml have it.
_NO_TIME = re.compile(r"([-+]?(0+(\.0*)?(ns|us|µs|ms|s|m|h)?)+)?")
_WHOLE = re.compile(r"([-+]?[0-9][0-9_]*)?")


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


def read(path: Path) -> WebConfig:
    """Read and check a file. Raises InputError, LackError."""
    table = yamlfile.read(path).table(
        "tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"
    )
    _refuse_rate_limit(table["rate_limit"])
    users, extra = _users(table["basic_auth_users"]), _headers(table["http_server_config"])
    return WebConfig(tlsconfig.read(table["tls_server_config"]), users, extra)


def _refuse_rate_limit(value: Value) -> None:
    table = value.table("interval", "burst")
    if not _WHOLE.fullmatch(table["burst"].text()):
        raise table["burst"].wrong("is a whole number")
    if not _NO_TIME.fullmatch(table["interval"].text()):
        raise table["interval"].wrong(
            "cannot be honoured: requests at the same time share one page, which is the limit;"
            " say 0"
        )


def _users(value: Value) -> dict[str, str]:
    users = value.entries()
    if users and not find_spec("bcrypt"):
        raise LackError("there is no bcrypt here, which basic_auth_users needs; pip install bcrypt")
    return {user: _checked(given, password.problem(given.text())) for user, given in users.items()}


def _headers(value: Value) -> dict[str, str]:
    table = value.table("http2", "headers")
    if table["http2"].flag(absent=False):
        raise table["http2"].wrong("cannot be honoured: HTTP/1.1 is served; say false")
    given = table["headers"].table(*headers.KNOWN)
    checked = {
        name: _checked(each, headers.problem(name, each.text())) for name, each in given.items()
    }
    return {name: text for name, text in checked.items() if text}


def _checked(value: Value, problem: str) -> str:
    if problem:
        raise value.wrong(problem)
    return value.text()
