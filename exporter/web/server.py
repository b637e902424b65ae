"""A WSGI application over plain HTTP, on waitress.

waitress and not prometheus_client's own server, which has neither time-outs nor a limit on
threads: a few hundred half-open requests are a few hundred threads there.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import waitress.channel
import waitress.server
import waitress.wasyncore

from nvscope.exporter.web import limits

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# Connections at once. Prometheus keeps one; the rest is room for slow or stray clients.
CONNECTIONS = 500


class _Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
    """A connection on which part of a request is no sign of life.

    waitress takes any byte for one: a client that sends one now and then would stay for ever.
    """

    last_activity: float  # time.time(), seconds

    def handle_read(self) -> None:
        before = self.last_activity
        super().handle_read()
        if self.request is not None:  # not complete yet
            self.last_activity = before


class Server:
    """Serves an application on a listening socket, in a thread of its own, until stopped."""

    def __init__(self, app: WSGIApplication, sock: socket.socket) -> None:
        self._server = waitress.server.create_server(
            app,
            sockets=[sock],
            ident=None,
            threads=limits.THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=limits.SILENCE_SECONDS,
            cleanup_interval=limits.SILENCE_SECONDS // 2,
            max_request_header_size=limits.HEADER_BYTES,
            max_request_body_size=limits.BODY_BYTES,
            clear_untrusted_proxy_headers=True,
            asyncore_use_poll=True,
        )
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._server.run, name="http")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def answers(self, timeout: float) -> bool:
        """Whether the thread that takes requests comes round within so many seconds."""
        came = threading.Event()
        self._server.trigger.pull_trigger(came.set)
        return came.wait(timeout)

    def stop(self) -> None:
        """Finish what is being served, then close the socket and all connections.

        From the main thread, not from a signal handler: it takes locks.
        """
        # The workers first: one that ends a request wakes the loop through a pipe that
        # closing everything closes too.
        self._server.task_dispatcher.shutdown(timeout=limits.STOP_SECONDS)
        # It queues the call, then writes to a pipe: a loop that is awake by itself may have
        # made the call, which closes the pipe, before the write.
        with contextlib.suppress(OSError):
            self._server.trigger.pull_trigger(self._close_all)
        self._thread.join()

    def _close_all(self) -> None:
        # In the server's own thread, whose loop ends when there is nothing left to poll.
        waitress.wasyncore.close_all(self._server._map)
