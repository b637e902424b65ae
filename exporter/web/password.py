"""Basic authentication against bcrypt hashes.

A right password is compared with its hash once, and then with a digest that only this process can
make, for a comparison is meant to be slow (bcrypt, cost 10: 50 ms). An unknown user costs what a
known one does. There is one comparison at a time: who asks with wrong passwords, however often and
from wherever, takes one CPU at most, and keeps nobody out whose password has been compared before.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from nvscope.exporter.web import pages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# bcrypt's modular format; $2x$ is of a broken implementation.
_HASH = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
_LEAST_COST, _CHEAPEST = 4, "04"
# Each step doubles the work: at 15 a wrong password takes seconds.
MOST_COST = 14
# bcrypt takes no more, and hashes of longer passwords are of their beginning.
_MOST_BYTES = 72

# Answers: the status, the text, a header.
_WHO = (
    "401 Unauthorized",
    "A user and a password, please.",
    ("WWW-Authenticate", 'Basic realm="nvscope", charset="UTF-8"'),
)
_BUSY = ("429 Too Many Requests", "Others are trying passwords.", ("Retry-After", "1"))


def require_hash(text: str) -> str:
    """Return a bcrypt hash that can be compared with. Raises ValueError with what is wrong."""
    import bcrypt

    match = _HASH.fullmatch(text)
    if match is None:
        raise ValueError("no bcrypt hash; make one by: htpasswd -nBC 10 USER")
    if not _LEAST_COST <= int(match["cost"]) <= MOST_COST:
        raise ValueError(f"cost {match['cost']}; it is {_LEAST_COST} to {MOST_COST}")
    cheap = text[:4] + _CHEAPEST + text[6:]  # its salt may still be none
    try:
        bcrypt.checkpw(b"", cheap.encode())
    except ValueError as error:
        raise ValueError(f"no bcrypt hash: {error}") from None
    return text


class BusyError(Exception):
    """Another password is being compared."""


class Passwords:
    """Users and their hashes (as require_hash lets through)."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {user.encode(): text.encode() for user, text in hashes.items()}
        self._dearest = max(self._hashes.values(), key=lambda each: each[4:6])
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, bytes] = {}  # user -> digest of its password
        self._comparing = threading.Lock()

    def fit(self, user: bytes, password: bytes) -> bool:
        """Whether this is a user, and the user's password. Raises BusyError."""
        digest = hmac.digest(self._key, password, "sha256")
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        if not self._comparing.acquire(blocking=False):
            raise BusyError
        try:
            same = self._compared(user, password)
        finally:
            self._comparing.release()
        if same:
            self._right[user] = digest
        return same

    def _compared(self, user: bytes, password: bytes) -> bool:
        import bcrypt

        known = self._hashes.get(user)
        same = bcrypt.checkpw(password[:_MOST_BYTES], known or self._dearest)
        return same and known is not None and len(password) <= _MOST_BYTES


def guarded(app: WSGIApplication, passwords: Passwords) -> WSGIApplication:
    """Return the application, of which all but the health asks for a password."""

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == pages.HEALTH:
            return app(environ, start_response)
        given = credentials(environ.get("HTTP_AUTHORIZATION", ""))
        try:
            if given and passwords.fit(*given):
                return app(environ, start_response)
        except BusyError:
            return pages.refuse(start_response, *_BUSY)
        return pages.refuse(start_response, *_WHO)

    return outer


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """User and password of an Authorization header (RFC 7617); None where it has none.

    >>> credentials("Basic cHJvbTpzZWM6cmV0"), credentials("Bearer x"), credentials("Basic ?")
    ((b'prom', b'sec:ret'), None, None)
    """
    scheme, _, text = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon and scheme.lower() == "basic" else None
