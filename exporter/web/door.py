"""Who is let in to an application, and the headers it answers with: they can change meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nvscope.exporter.web.config import WebConfig, read

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


class Door:
    """web: the web configuration in force; path: where it was read, and can be again."""

    def __init__(self, web: WebConfig, path: Path | None = None) -> None:
        self.web = web
        self.path = path

    def around(self, app: WSGIApplication) -> WSGIApplication:
        """Return the application as it is to be served. Once: it is this one that changes."""
        self._app, self._outer = app, self.web.around(app)

        def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return self._outer(environ, start_response)

        return outer

    def reread(self) -> None:
        """Take users and headers as the file has them now. Raises InputError, LackError."""
        assert self.path is not None
        web = read(self.path)
        if web.tls != self.web.tls:
            log.warning("tls_server_config of %s changes with the next start only", self.path)
        if (web.users, web.headers) != (self.web.users, self.web.headers):
            self._outer = web.around(self._app)
            self.web = WebConfig(self.web.tls, web.users, web.headers)
