"""Who is let in to an application, and the headers it answers with: they can change meanwhile."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from nvscope.exporter.web import pages
from nvscope.exporter.web.access.password import Passwords, credentials
from nvscope.exporter.web.access.turns import BusyError
from nvscope.exporter.web.message import Answer, Application, Request, line
from nvscope.exporter.web.settings.config import WebConfig, read
from nvscope.exporter.web.settings.tls import Contexts

log = logging.getLogger(__name__)

_WHO = line(
    401,
    "A user and a password, please.",
    ("WWW-Authenticate", 'Basic realm="nvscope", charset="UTF-8"'),
)
_BUSY = line(429, "Others are trying passwords.", ("Retry-After", "1"))


class Authentication:
    """web: the web configuration in force; path: where it was read, and can be again."""

    def __init__(self, web: WebConfig, path: Path | None = None) -> None:
        self.web = web
        self.path = path
        self._passwords = Passwords(web.users)

    def contexts(self) -> Contexts | None:
        """Contexts of TLS to serve with; None for plain HTTP. Raises InputError, LackError."""
        return Contexts(self.web.tls) if self.web.tls else None

    def around(self, app: Application) -> Application:
        """Return the application as it is to be served."""

        async def outer(request: Request) -> Answer:
            answer = await self._refused(request) or await app(request)
            return replace(answer, headers=(*answer.headers, *self.web.headers.items()))

        return outer

    async def _refused(self, request: Request) -> Answer | None:
        """The answer to whoever is not let in. The health asks for no password."""
        if not self._passwords or request.own or request.path == pages.HEALTH:
            return None
        given = credentials(request.headers.get("authorization", ""))
        try:
            fits = given and await self._passwords.fit(*given, request.peer)
        except BusyError:
            return _BUSY
        return None if fits else _WHO

    def reread(self) -> None:
        """Take users and headers as the file has them now. Raises InputError, LackError."""
        assert self.path is not None
        web = read(self.path)
        if web.tls != self.web.tls:
            log.warning("tls_server_config of %s changes with the next start only", self.path)
        self.web = replace(web, tls=self.web.tls)
        self._passwords.change(web.users)
