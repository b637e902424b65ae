"""What is asked, and what is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """path: decoded, without the query; headers: lower-case name -> value, of several the last;
    peer: the client's address, "" on a Unix socket; own: whether this process asks itself.
    """

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    own: bool = False


@dataclass(frozen=True)
class Answer:
    """body: pieces, which answers may share; status: of RFC 9110; headers: without kind and length,
    which are the body's.
    """

    body: Sequence[bytes]
    kind: str = _TEXT
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


# It may be asked by many clients at a time, and never keeps the event loop for long.
Application = Callable[[Request], Awaitable[Answer]]


def line(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer of one line of text; its end of line is added here."""
    return Answer((f"{text}\n".encode(),), _TEXT, status, headers)
