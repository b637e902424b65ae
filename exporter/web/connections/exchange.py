"""One HTTP/1.1 request and its answer on a connection, which is closed after that.

No second request: Prometheus' intervals are longer than any connection may be idle for, and what
a client sends ahead need not be kept for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

import h11

from nvscope.exporter.web import message
from nvscope.exporter.web.connections import limits
from nvscope.exporter.web.message import Answer, Request

# So much of an answer is in our memory for one client, beside what the kernel has.
_PIECE_BYTES = 65536
# How long a client may go on sending after its answer, seconds: closing at once would reset the
# connection, and might take the answer with it.
_LINGER_SECONDS = 1


class RefusedError(Exception):
    """What was sent is no request that can be served."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = message.line(status, text)


class Exchange:
    """Of an open connection. All raise OSError where the client has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HEADER_BYTES)
        self._head = False

    async def request(self, peer: str, *, own: bool) -> Request | None:
        """Return what is asked; None: nothing. Raises RefusedError."""
        try:
            event = await self._event()
        except h11.RemoteProtocolError as error:
            raise RefusedError(error.error_status_hint, f"No HTTP request: {error}.") from None
        if not isinstance(event, h11.Request):
            return None
        self._head = event.method == b"HEAD"
        if event.http_version not in (b"1.0", b"1.1"):
            raise RefusedError(505, "This is an HTTP/1.1 server.")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
        if headers.keys() >= {"content-length", "transfer-encoding"}:  # RFC 9112, 6.1
            raise RefusedError(400, "Both Content-Length and Transfer-Encoding.")
        path, query = _target(event.target.decode("latin-1"))
        return Request(event.method.decode("ascii"), path, query, headers, peer, own)

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        taken = 0
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(limits.HEADER_BYTES + 1 - taken)
            taken += len(data)
            self._http.receive_data(data)
        return event

    async def answer(self, answer: Answer) -> None:
        """Send it, as fast as the client takes it."""
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(sum(map(len, answer.body)))),
            ("Connection", "close"),
            *answer.headers,
        ]
        reason = HTTPStatus(answer.status).phrase
        await self._send(h11.Response(status_code=answer.status, headers=headers, reason=reason))
        for piece in _pieces(() if self._head else answer.body):
            await self._send(h11.Data(data=piece))
        await self._linger()

    async def _send(self, event: h11.Event) -> None:
        if self._writer.is_closing():  # asyncio itself would go on, and log each piece
            raise ConnectionResetError
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()

    async def _linger(self) -> None:
        """Let a client say to its end what nobody needs."""
        if self._http.their_state is h11.DONE and not self._http.trailing_data[0]:
            return
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._reader.read(_PIECE_BYTES):
                    pass


def _pieces(body: Iterable[bytes]) -> Iterator[bytes]:
    """What is short in one piece, and what is long in many."""
    piece = bytearray()
    for text in body:
        for start in range(0, len(text), _PIECE_BYTES):
            piece += text[start : start + _PIECE_BYTES]
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    yield bytes(piece)


def _target(target: str) -> tuple[str, Mapping[str, list[str]]]:
    """Path and query of a request's target, of a server's or a proxy's form (RFC 9112, 3.2).

    >>> _target("/metrics?name[]=a&name[]=b"), _target("http://host:9810/metrics")
    (('/metrics', {'name[]': ['a', 'b']}), ('/metrics', {}))
    """
    try:
        if not target.startswith("/"):
            split = urlsplit(target)
            target = f"{split.path or '/'}?{split.query}"
        path, _, query = target.partition("?")
        return unquote(path), parse_qs(query)
    except ValueError as error:
        raise RefusedError(400, f"No address of a page: {error}.") from None
