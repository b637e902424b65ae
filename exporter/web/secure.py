"""A WSGI application over TLS, on hypercorn.

waitress has no TLS. Of the servers that have, hypercorn is the one that goes on answering amid slow
clients. Connections are accepted here, and not by hypercorn: so that they have a bound, that each
has the certificate of the day, and that one that does not take its answer is closed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from nvscope.exporter.web import limits
from nvscope.exporter.web.bridge import Bridge
from nvscope.exporter.web.connection import Connection
from nvscope.exporter.web.tls import Contexts

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

# Connections at once. Each takes 0.3 MiB, for asyncio has a buffer of 256 KiB for TLS
# (sslproto.SSLProtocol.max_size), so that these are 75 MiB at most.
CONNECTIONS = 256
# Requests on one connection, which bounds what comes in one piece; Prometheus connects again.
REQUESTS = 100
# How long a client may take to say goodbye, seconds.
_GOODBYE_SECONDS = 2
# Where there are no files left: how long until the next try, seconds.
_PAUSE_SECONDS = 1


def _config() -> Config:
    config = Config()
    config.errorlog = log
    config.include_server_header = False
    config.keep_alive_timeout = limits.SILENCE_SECONDS  # of a request's header too
    config.h11_max_incomplete_size = limits.HEADER_BYTES
    config.keep_alive_max_requests = REQUESTS
    return config


class SecureServer:
    """As server.Server, over TLS."""

    def __init__(self, app: WSGIApplication, sock: socket.socket, contexts: Contexts) -> None:
        self._app = Bridge(app)
        self._sock = sock
        self._contexts = contexts
        self._config = _config()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # one for each connection
        self._shaking: set[asyncio.Task[None]] = set()  # those before its handshake's end
        self._thread = threading.Thread(target=self._run, name="https")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def answers(self, timeout: float) -> bool:
        """Whether the thread that takes requests comes round within so many seconds."""
        came = threading.Event()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(came.set)
        return came.wait(timeout)

    def stop(self) -> None:
        """Finish what is being served, then close the socket and all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.set_default_executor(ThreadPoolExecutor(limits.THREADS, "wsgi"))
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._sock.setblocking(False)
        self._context = WorkerContext(None)
        accepting = self._loop.create_task(self._accept())
        await self._stopping.wait()
        accepting.cancel()
        self._sock.close()
        await self._context.terminated.set()  # idle connections close
        for task in self._shaking:
            task.cancel()
        await self._end_all()

    async def _end_all(self) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=limits.STOP_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _accept(self) -> None:
        places = asyncio.Semaphore(CONNECTIONS)
        while True:
            await places.acquire()
            task = self._loop.create_task(self._connected(await self._next()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: places.release())

    async def _next(self) -> socket.socket:
        while True:
            try:
                return (await self._loop.sock_accept(self._sock))[0]
            except OSError as error:
                log.error("no connection can be accepted: %s", error.strerror)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _connected(self, sock: socket.socket) -> None:
        try:
            reader, writer = await self._shaken(sock)
            await Connection(self._app, self._loop, self._config, self._context, {}, reader, writer)
        except OSError as error:  # no TLS, or none in time; no certificate; gone
            log.debug("a connection ended: %s", error)

    async def _shaken(self, sock: socket.socket) -> _Streams:
        """The connection after its handshake. Raises OSError."""
        reader = asyncio.StreamReader()
        task = asyncio.current_task()
        assert task is not None
        self._shaking.add(task)
        try:
            transport, protocol = await self._loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader),
                sock,
                ssl=self._contexts.current(),
                ssl_handshake_timeout=limits.SILENCE_SECONDS,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        finally:
            self._shaking.discard(task)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)
