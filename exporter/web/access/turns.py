"""Slow work for many clients: one piece at a time, and each client in its turn."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

# How long a client may wait for its turn, seconds: Prometheus gives up after 10.
_PATIENCE_SECONDS = 9
# Pieces that wait, of all clients; each keeps a connection (limits.CONNECTIONS).
MOST_WAITING = 64


class BusyError(Exception):
    """There is too much to do for others."""


@dataclass(frozen=True)
class _Piece:
    work: Callable[[], bool]
    done: asyncio.Future[bool]


class Turns:
    """Serves one event loop, with one thread: the process does not end within a piece of work,
    for compiled code may not bear that.
    """

    def __init__(self) -> None:
        self._first: deque[_Piece] = deque()
        # Network -> user -> pieces, the oldest first; whose turn it is comes first.
        self._waiting: dict[str, dict[bytes, deque[_Piece]]] = {}
        self._thread = ThreadPoolExecutor(1, "turns")
        self._working: asyncio.Task[None] | None = None

    async def done(
        self, peer: str, user: bytes, work: Callable[[], bool], *, first: bool = False
    ) -> bool:
        """Return what the work returns. Networks take turns, and in each the users.

        first: before all of them. Raises TimeoutError after _PATIENCE_SECONDS, and at once
        BusyError where others have more right to the last place.
        """
        loop = asyncio.get_running_loop()
        piece = _Piece(work, loop.create_future())
        line = self._waiting.setdefault(network(peer), {}).setdefault(user, deque())
        (self._first if first else line).append(piece)
        self._keep_bound()
        if self._working is None:
            self._working = loop.create_task(self._work())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await piece.done

    def _keep_bound(self) -> None:
        """Past the bound, the network and user with most pieces lose one: the last to come."""
        sizes = {each: sum(map(len, users.values())) for each, users in self._waiting.items()}
        if sum(sizes.values()) > MOST_WAITING:
            users = self._waiting[max(reversed(sizes), key=lambda each: sizes[each])]
            piece = users[max(reversed(users), key=lambda each: len(users[each]))].pop()
            if not piece.done.done():
                piece.done.set_exception(BusyError)

    async def _work(self) -> None:
        try:
            while self._first or self._waiting:
                piece = self._first.popleft() if self._first else self._next()
                if piece and not piece.done.done():  # its client still waits
                    await self._worked(piece)
        finally:
            self._working = None

    def _next(self) -> _Piece | None:
        """None: nothing waits any more where the turn is."""
        users = self._waiting.pop(turn := next(iter(self._waiting)))
        pieces = users.pop(user := next(iter(users)))
        piece = pieces.popleft() if pieces else None
        if pieces:
            users[user] = pieces  # after all others
        if users:
            self._waiting[turn] = users
        return piece

    async def _worked(self, piece: _Piece) -> None:
        try:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._thread, piece.work)
        except Exception as error:  # noqa: BLE001 (it is raised where it is waited for)
            if not piece.done.done():
                piece.done.set_exception(error)
        else:
            if not piece.done.done():
                piece.done.set_result(result)


def network(peer: str) -> str:
    """What takes turns: an IPv4 address; of IPv6 64 bits, for a host has all addresses in them.

    >>> network("192.0.2.7"), network("2001:db8:0:1::7"), network("::ffff:192.0.2.7"), network("")
    ('192.0.2.7', '2001:0db8:0000:0001', '::ffff:192.0.2.7', '')
    """
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:  # a Unix socket
        return peer
    alone = address.version == 4 or address.ipv4_mapped
    return peer if alone else address.exploded[:19]
