"""Serves an application over HTTP, or HTTPS, on listening sockets.

By h11 and asyncio, and no server of others: with waitress and hypercorn a client that does not read
keeps its connection for as long as it likes, or a thread. Here each client has CLIENT_SECONDS in
all; where there is no more room, the one that has kept us waiting for longest goes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nvscope.exporter.web.connections import limits, opening
from nvscope.exporter.web.connections.exchange import Exchange, RefusedError
from nvscope.exporter.web.connections.places import Places, room
from nvscope.exporter.web.message import Answer, Request, line
from nvscope.exporter.web.self_scrape import SelfScrapes

if TYPE_CHECKING:
    from nvscope.exporter.web.message import Application
    from nvscope.exporter.web.settings.tls import Contexts

log = logging.getLogger(__name__)

_NO_TLS = line(400, "This port speaks HTTP, and not TLS: ask by http://.")
_NO_HTTP = line(400, "This port speaks TLS only: ask by https://.")
_FAILED = line(500, "The exporter failed; its log says how.")
# Where no connection can be accepted: how long until the next try, seconds.
_PAUSE_SECONDS = 0.5
# asyncio's TLS leaves each connection in a cycle, with all of its buffers: where many end, Python
# itself looks for cycles too late.
_COLLECTED_EACH = 32
# How often that is said at most, seconds.
_QUIET_SECONDS = 60


class Server:
    """In a thread of its own, from start() to stop()."""

    def __init__(
        self,
        app: Application,
        sockets: Sequence[socket.socket],
        contexts: Contexts | None = None,
    ) -> None:
        """contexts: of TLS; without them it is HTTP."""
        self._app = app
        self._sockets = sockets
        self._contexts = contexts
        self._own = SelfScrapes()
        self._scraped = -float("inf")  # when a client had all of the metrics, monotonic seconds
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ended = 0  # connections
        self._thread = threading.Thread(target=self._run, name="http")
        self.failed = False

    def start(self) -> None:
        """Begin to serve. Should it fail later, the process is told as by SIGTERM."""
        self._thread.start()

    def answers(self, seconds: float) -> bool:
        """Whether a scrape through each socket works, or a client's has in the last so many."""
        if not self._thread.is_alive():
            return False
        return time.monotonic() - self._scraped < seconds or all(
            self._own.works(sock, seconds) for sock in self._sockets
        )

    def stop(self) -> None:
        """Finish what is being served, in STOP_SECONDS, then close the sockets and connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception:
            log.exception("the server failed")
            self.failed = True
            os.kill(os.getpid(), signal.SIGTERM)

    async def _serve(self) -> None:
        self._places = Places(room())
        async with asyncio.TaskGroup() as group:
            accepting = [group.create_task(self._accept(sock)) for sock in self._sockets]
            await self._stopping.wait()
            for task in accepting:
                task.cancel()
        for sock in self._sockets:
            sock.close()
        self._places.clear()
        if self._places.tasks:
            await asyncio.wait(self._places.tasks, timeout=limits.STOP_SECONDS)

    async def _accept(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        said = -float("inf")
        while True:
            try:
                sock, _ = await self._loop.sock_accept(listening)
            except ConnectionAbortedError:
                continue
            except OSError as error:  # no more files, for one
                if time.monotonic() - said >= _QUIET_SECONDS:
                    log.error("no connection can be accepted: %s", error.strerror)
                    said = time.monotonic()
                self._places.clear_one()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            try:
                await self._places.taken()
            except asyncio.CancelledError:
                sock.close()
                raise
            self._places.fill(self._loop.create_task(self._connected(sock)))
            await asyncio.sleep(0)  # those that are there go first

    async def _connected(self, sock: socket.socket) -> None:
        with sock:
            try:
                async with asyncio.timeout(limits.CLIENT_SECONDS) as patience:
                    await self._spoken(sock, patience)
            except OSError as error:  # it has gone, or had its time; no TLS, or no certificate
                log.debug("a connection ended: %s", error)
            except Exception:
                log.exception("a connection failed")
        self._ended += 1
        if self._contexts and self._ended % _COLLECTED_EACH == 0:
            gc.collect(1)

    async def _spoken(self, sock: socket.socket, patience: asyncio.Timeout) -> None:
        secret = await opening.first_byte(sock) == opening.HANDSHAKE
        own = self._own.made(sock)
        tls = self._contexts.current() if self._contexts and secret else None
        reader, writer = await opening.streams(sock, tls)
        exchange = Exchange(reader, writer)
        try:
            if secret and tls is None:
                await exchange.answer(_NO_TLS)
            elif self._contexts and not secret and not own:
                await exchange.answer(_NO_HTTP)
            else:
                await self._exchanged(exchange, _peer(sock), patience, own=own)
            writer.close()
            await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _exchanged(
        self, exchange: Exchange, peer: str, patience: asyncio.Timeout, *, own: bool
    ) -> None:
        try:
            request = await exchange.request(peer, own=own)
        except RefusedError as error:
            await exchange.answer(error.answer)
            return
        if request is None:
            return
        with self._places.busy(patience):
            answer = await self._answer(request)
        await exchange.answer(answer)
        if (request.path, answer.status, own) == ("/metrics", 200, False):
            self._scraped = time.monotonic()

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._app(request)
        except Exception:
            log.exception("%s cannot be answered", request.path)
            return _FAILED


def _peer(sock: socket.socket) -> str:
    """The client's address; of a Unix socket none."""
    name = sock.getpeername()
    return str(name[0]) if isinstance(name, tuple) else ""
