"""The server that a web configuration asks for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from nvscope.exporter.web.door import Door
from nvscope.exporter.web.server import Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Serving(Protocol):
    """What server.Server says of these."""

    def start(self) -> None: ...
    def answers(self, timeout: float) -> bool: ...
    def stop(self) -> None: ...


def serving(app: WSGIApplication, sock: socket.socket, door: Door) -> Serving:
    """Return a server of an application on a listening socket, to be started."""
    app, tls = door.around(app), door.web.tls
    if tls is None:
        return Server(app, sock)
    # Imported here: they cost 6 MiB.
    from nvscope.exporter.web.secure import SecureServer
    from nvscope.exporter.web.tls import Contexts

    return SecureServer(app, sock, Contexts(tls))
