"""Basic authentication against bcrypt hashes.

A right password is compared with its hash once, and then with a digest that only this process can
make, for a comparison is meant to be slow (bcrypt, cost 10: 50 ms); so is a wrong one. All users,
known or not, cost the same. There is one comparison at a time: wrong passwords take one CPU at
most, and keep nobody out for long.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Mapping

from nvscope.exporter.web.access.turns import BusyError, Turns

# bcrypt's modular format; $2x$ is of a broken implementation.
_HASH = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
_CHEAPEST = "04"
# Each step doubles the work: at 15 a wrong password takes seconds.
MOST_COST = 14
# bcrypt takes no more. What comes after is ignored, as by Go's CompareHashAndPassword (and so by
# Prometheus' other exporters): hashes of longer passwords are of their beginning.
_MOST_BYTES = 72
# Digests that are remembered; each takes some 200 bytes.
_MOST_KEPT = 1024


def problem(text: str) -> str:
    """Why it is no bcrypt hash that can be compared with, or ""."""
    import bcrypt

    match = _HASH.fullmatch(text)
    if match is None:
        return "has no bcrypt hash; make one by: htpasswd -nBC 10 USER"
    if int(match["cost"]) < int(_CHEAPEST):
        return f"has a hash of cost {match['cost']}; bcrypt's least is {_CHEAPEST}"
    if int(match["cost"]) > MOST_COST:
        return (
            f"has a hash of cost {match['cost']}, with which each wrong password would take"
            f" seconds; the most is {MOST_COST}"
        )
    cheap = text[:4] + _CHEAPEST + text[6:]  # its salt may still be none
    try:
        bcrypt.checkpw(b"", cheap.encode())
    except ValueError as error:
        return f"has no bcrypt hash: {error}"
    return ""


class Passwords:
    """Of users, by hashes without a problem. Serves one event loop."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, bytes] = {}  # user -> digest
        # Digests, the oldest first. A password that has waited in vain comes first the next time: a
        # guesser does not ask the same again.
        self._wrong: dict[bytes, None] = {}
        self._patient: dict[bytes, None] = {}
        self._turns = Turns()
        self.change(hashes)

    def change(self, hashes: Mapping[str, str]) -> None:
        """Take other users from now on. A password that was right stays so, without a comparison,
        as long as its hash is the same. For any thread.
        """
        self._hashes = {user.encode(): text.encode() for user, text in hashes.items()}

    def __bool__(self) -> bool:
        """Whether there are users."""
        return bool(self._hashes)

    async def fit(self, user: bytes, password: bytes, peer: str) -> bool:
        """Whether this is a user, and the user's password; peer: where it comes from.

        Raises BusyError.
        """
        hashes, password = self._hashes, password[:_MOST_BYTES]
        own = hashes.get(user, b"")
        digest = hmac.digest(self._key, repr((own, user, password)).encode(), "sha256")
        if (known := self._known(user, digest)) is not None:
            return known

        def compare() -> bool:
            if (known := self._known(user, digest)) is not None:  # by another's turn
                return known
            same = _compared(password, own, {each[4:6]: each for each in hashes.values()})
            self._remember(user, digest, same=same)
            return same

        try:
            return await self._turns.done(peer, user, compare, first=digest in self._patient)
        except TimeoutError:
            _keep(self._patient, digest)
            raise BusyError from None

    def _known(self, user: bytes, digest: bytes) -> bool | None:
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        return False if digest in self._wrong else None

    def _remember(self, user: bytes, digest: bytes, *, same: bool) -> None:
        if same:
            self._right[user] = digest
        else:
            _keep(self._wrong, digest)


def _keep(digests: dict[bytes, None], digest: bytes) -> None:
    """The oldest goes where there are too many."""
    digests[digest] = None
    if len(digests) > _MOST_KEPT:
        del digests[next(iter(digests))]


def _compared(password: bytes, own: bytes, by_cost: Mapping[bytes, bytes]) -> bool:
    """One comparison for each cost that some user has, whoever asks: with the user's own hash
    (b"": there is none), or else with another's, so that time tells nothing of users.
    """
    import bcrypt

    same = False
    for cost, other in by_cost.items():
        mine = own[4:6] == cost
        same |= bcrypt.checkpw(password, own if mine else other) and mine
    return same


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
