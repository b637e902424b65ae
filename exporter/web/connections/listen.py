"""The socket that is served, and its address."""

from __future__ import annotations

import socket

# Connections that may wait to be accepted: as many as the kernel lets (net.core.somaxconn, 4096
# from 5.4 on). Beyond these, clients ask again after a second.
_BACKLOG = 65535


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; port 0 takes a free one. Raises OSError.

    It listens at once, not only when it is served: of two exporters that start together, one
    hears that the port is taken before it compiles anything.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def url(sock: socket.socket, scheme: str = "http") -> str:
    """Return the address of the metrics on a listening socket; of a Unix socket, where it is."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"/metrics on unix:{_path(name)}"
    host, port = name[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/metrics"


def _path(name: str | bytes) -> str:
    """Of a Unix socket; "@" stands for the null byte that abstract ones begin with: unix(7)."""
    text = name if isinstance(name, str) else name.decode(errors="backslashreplace")
    return text.replace("\0", "@", 1)
