"""Scrapes of our own, which tell whether the server serves; nobody else can make them."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SelfScrapes:
    """Known by the address that they come from, or on a Unix socket by their process."""

    def __init__(self) -> None:
        self._addresses: set[tuple[object, ...]] = set()

    def works(self, listening: socket.socket, seconds: float) -> bool:
        """Whether a page of metrics comes through a listening socket in that time."""
        with socket.socket(listening.family) as sock:
            sock.settimeout(seconds)
            address = None
            try:
                sock.connect(listening.getsockname())
                address = _address(sock.getsockname())
                self._addresses.add(address)
                return _scraped(sock)
            except (OSError, http.client.HTTPException):
                return False
            finally:
                self._addresses.discard(address or ())

    def made(self, accepted: socket.socket) -> bool:
        """Whether an accepted connection, of which something has come, is one of these."""
        if accepted.family == socket.AF_UNIX:
            asked = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return bool(_CREDENTIALS.unpack(asked)[0] == os.getpid())
        return _address(accepted.getpeername()) in self._addresses


def _address(name: object) -> tuple[object, ...]:
    """Host and port, of IPv4 and IPv6 alike."""
    return name[:2] if isinstance(name, tuple) else (name,)


def _scraped(sock: socket.socket) -> bool:
    connection = http.client.HTTPConnection("nvscope")
    connection.sock = sock
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK and bool(response.read())
