"""A connection from its first byte: what it speaks, and streams of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio import sslproto
from typing import TYPE_CHECKING

from nvscope.exporter.web.connections import limits

if TYPE_CHECKING:
    import ssl

# What TLS begins with: RFC 8446, 5.1, ContentType.
HANDSHAKE = b"\x16"
# How long a client may take to say goodbye in TLS, seconds.
_GOODBYE_SECONDS = 1

# asyncio's buffer for what is received in TLS, of each connection, bytes: by default 256 KiB, where
# a request has 8 and a record of TLS 16 (RFC 8446, 5.1).
sslproto.SSLProtocol.max_size = 16 << 10

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def first_byte(sock: socket.socket) -> bytes:
    """Return it without taking it; nothing where the client has ended. Raises OSError."""
    with contextlib.suppress(BlockingIOError):
        return sock.recv(1, socket.MSG_PEEK)
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(sock, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


async def streams(sock: socket.socket, tls: ssl.SSLContext | None) -> Streams:
    """Return streams of an accepted connection, after TLS' handshake. Raises OSError."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limits.HEADER_BYTES)
    waits = {
        "ssl_handshake_timeout": limits.CLIENT_SECONDS,
        "ssl_shutdown_timeout": _GOODBYE_SECONDS,
    }
    transport, protocol = await loop.connect_accepted_socket(
        lambda: asyncio.StreamReaderProtocol(reader), sock, ssl=tls, **(waits if tls else {})
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
