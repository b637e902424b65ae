"""Basic authentication: who is let in, and what that costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest
from exporter_fakes import FakeSource
from exporter_web import HASH, basic, get, serving

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.config import WebConfig
from nvscope.exporter.web.password import Passwords

DEARER = bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode()


@pytest.fixture
def port() -> Iterator[int]:
    web = WebConfig(users={"prom": HASH}, headers={"X-Frame-Options": "deny"})
    with serving(VmCollector(FakeSource()), web) as port:
        yield port


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/healthz/", "/healthz%00"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("prom", "wrong"),
        basic("prom", ""),
        basic("nobody", "right"),
        {"Authorization": "Bearer right"},
        {"Authorization": "Basic not-base64"},
    ],
)
def test_who_is_not_let_in(port: int, path: str, headers: dict[str, str]) -> None:
    response, body = get(port, path, headers)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="nvscope", charset="UTF-8"'
    assert response.headers["X-Frame-Options"] == "deny"
    assert body == b"A user and a password, please.\n"


def test_who_is(port: int) -> None:
    for _ in range(2):
        response, body = get(port, "/metrics", basic("prom", "right"))
        assert (response.status, b"nvscope_up 1.0" in body) == (200, True)
        assert response.headers["X-Frame-Options"] == "deny"
    assert get(port, "/metrics", basic("prom", "wrong"))[0].status == 401


def test_health_asks_for_none(port: int) -> None:
    response, body = get(port, "/healthz", basic("prom", "wrong"))
    assert (response.status, body) == (200, b"ok\n")


def test_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right password is compared once; what is wrong costs the same, whoever asks."""
    compared: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    passwords = Passwords({"prom": HASH, "other": DEARER})
    assert [passwords.fit(b"prom", b"right") for _ in range(3)] == [True] * 3
    assert compared == [HASH.encode()]
    assert not passwords.fit(b"other", b"right")
    assert not passwords.fit(b"nobody", b"other")  # the password of the hash it is compared with
    assert compared[1:] == [DEARER.encode()] * 2
    assert not passwords.fit(b"prom", b"wrong")
    assert passwords.fit(b"prom", b"right")
    assert len(compared) == 4


def test_a_password_past_what_bcrypt_looks_at() -> None:
    longest = b"x" * 72
    passwords = Passwords({"prom": bcrypt.hashpw(longest, bcrypt.gensalt(4)).decode()})
    assert not passwords.fit(b"prom", longest + b"y")
    assert passwords.fit(b"prom", longest)
    assert not passwords.fit(b"prom", b"a\0b")


def test_one_comparison_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has been let in before is let in meanwhile; all others are told to wait."""
    compares, go_on = threading.Event(), threading.Event()
    real = bcrypt.checkpw

    def slow(password: bytes, hashed: bytes) -> bool:
        compares.set()
        return go_on.wait(10) and real(password, hashed)

    web = WebConfig(users={"prom": HASH})
    with serving(VmCollector(FakeSource()), web) as port, ThreadPoolExecutor() as pool:
        assert get(port, "/", basic("prom", "right"))[0].status == 200
        monkeypatch.setattr(bcrypt, "checkpw", slow)
        first = pool.submit(get, port, "/", basic("prom", "wrong"))
        assert compares.wait(10)
        response, body = get(port, "/", basic("prom", "wrong, too"))
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
        assert body == b"Others are trying passwords.\n"
        assert get(port, "/", basic("prom", "right"))[0].status == 200
        go_on.set()
        assert first.result(10)[0].status == 401
        assert get(port, "/", basic("prom", "wrong, too"))[0].status == 401
