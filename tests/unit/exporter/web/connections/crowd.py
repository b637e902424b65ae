"""Bad clients, many at once, in a process of their own: PORT SORT NUMBER [tls].

It says "there" when all have done their worst, and holds on to what is left until its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PIPELINED = REQUEST * 200  # 7 KiB
POST = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
_TRICKLE_SECONDS = 0.5


def _saying(text: bytes) -> Callable[[Streams], Awaitable[None]]:
    async def say(streams: Streams) -> None:
        streams[1].write(text)
        await streams[1].drain()

    return say


async def _resets(streams: Streams) -> None:
    await _saying(PIPELINED)(streams)
    streams[1].transport.abort()


async def _trickles(streams: Streams) -> None:
    async def trickle() -> None:
        while not streams[1].is_closing():
            streams[1].write(b"G")
            await asyncio.sleep(_TRICKLE_SECONDS)

    streams[1].trickling = asyncio.create_task(trickle())  # type: ignore[attr-defined]


# Nobody of these reads.
SORTS: dict[str, Callable[[Streams], Awaitable[None]]] = {
    "idle": _saying(b""),
    "half": _saying(REQUEST[:20]),
    "body": _saying(POST),
    "unread": _saying(REQUEST),
    "pipelined": _saying(PIPELINED),
    "resets": _resets,
    "trickles": _trickles,
    "garbage": _saying(b"\0\xff" * 4000),
    "silent": _saying(b""),  # before TLS' handshake
    "half-handshake": _saying(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
}
BEFORE_TLS = ("silent", "half-handshake")


async def _one(port: int, sort: str, tls: ssl.SSLContext | None, there: list[Streams]) -> None:
    context = None if sort in BEFORE_TLS else tls
    with contextlib.suppress(OSError):  # it has been closed already
        streams = await asyncio.open_connection("127.0.0.1", port, limit=1, ssl=context)
        streams[1].transport.pause_reading()  # type: ignore[attr-defined]
        there.append(streams)
        await SORTS[sort](streams)


async def _all(port: int, sort: str, number: int, tls: ssl.SSLContext | None) -> None:
    there: list[Streams] = []
    await asyncio.gather(*(_one(port, sort, tls, there) for _ in range(number)))
    print("there", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main(port: str, sort: str, number: str, secure: str = "") -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    tls = ssl._create_unverified_context() if secure else None
    asyncio.run(_all(int(port), sort, int(number), tls))


if __name__ == "__main__":
    main(*sys.argv[1:])
