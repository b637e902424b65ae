"""hypercorn's WSGI middleware, so that no client keeps a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hypercorn.app_wrappers import WSGIWrapper

from nvscope.exporter.web import limits

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]

_EMPTY = [(b"content-length", b"0"), (b"connection", b"close")]


class Bridge:
    """What hypercorn calls for each request."""

    def __init__(self, app: WSGIApplication) -> None:
        self._wsgi = WSGIWrapper(app, limits.BODY_BYTES)

    async def __call__(
        self, scope: Any, receive: _Receive, send: _Send, sync_spawn: Any, call_soon: Any
    ) -> None:
        answer: list[Any] = []

        async def keep(message: Any) -> None:
            answer.append(message)

        if _header_bytes(scope) > limits.HEADER_BYTES:
            await send({"type": "http.response.start", "status": 431, "headers": _EMPTY})
            await send({"type": "http.response.body"})
            return
        # Sent when the thread is free again: hypercorn's own way has it wait for the client.
        await self._wsgi(scope, _impatient(receive), keep, sync_spawn, call_soon)
        for message in answer:
            await send(message)


def _header_bytes(scope: Any) -> int:
    """hypercorn bounds what is incomplete; what comes in one piece may be 64 KiB."""
    target = len(scope["raw_path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


def _impatient(receive: _Receive) -> _Receive:
    """A body that is not there in time is taken to be at its end."""
    deadline = asyncio.get_running_loop().time() + limits.SILENCE_SECONDS

    async def outer() -> Any:
        try:
            async with asyncio.timeout_at(deadline):
                return await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}

    return outer
