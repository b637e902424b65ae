"""Basic authentication: who is let in, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

from nvscope.exporter.collector import VmCollector
from nvscope.exporter.web.access import turns
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.access.password import Passwords
from nvscope.exporter.web.access.turns import BusyError
from nvscope.exporter.web.message import Answer, Request, line
from nvscope.exporter.web.settings.config import WebConfig
from tests.unit.exporter.fakes import FakeSource
from tests.unit.exporter.web.client import HASH, basic, get, serving

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


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that passwords are compared with, from now on."""
    hashes: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return hashes


def fit(passwords: Passwords, user: bytes, password: bytes, peer: str = "192.0.2.1") -> bool:
    return asyncio.run(passwords.fit(user, password, peer))


async def _all(*fits: Awaitable[bool]) -> list[bool]:
    return await asyncio.gather(*fits)


def test_a_right_password_is_compared_once(compared: list[bytes]) -> None:
    passwords = Passwords({"prom": HASH})
    assert [fit(passwords, b"prom", b"right") for _ in range(3)] == [True] * 3
    assert compared == [HASH.encode()]
    assert not fit(passwords, b"prom", b"wrong")
    assert fit(passwords, b"prom", b"right")
    assert len(compared) == 2


def test_a_wrong_password_is_compared_once(compared: list[bytes]) -> None:
    passwords = Passwords({"prom": HASH})
    for user in (b"prom", b"nobody"):
        assert [fit(passwords, user, b"wrong") for _ in range(3)] == [False] * 3
    assert len(compared) == 2
    eight = (passwords.fit(b"prom", b"another", "") for _ in range(8))
    assert asyncio.run(_all(*eight)) == [False] * 8
    assert len(compared) == 3
    for number in range(2000):
        passwords._remember(b"prom", b"%d" % number, same=False)
    assert len(passwords._wrong) == 1024
    assert not fit(passwords, b"prom", b"wrong")
    assert len(compared) == 4


@pytest.mark.parametrize("user", [b"cheap", b"dear", b"dear2", b"nobody", b"", b"\xff\0"])
def test_all_names_cost_the_same(compared: list[bytes], user: bytes) -> None:
    """Hashes of each cost that there is are computed once, for a user and for nobody alike."""
    other = bcrypt.hashpw(b"another", bcrypt.gensalt(5)).decode()
    passwords = Passwords({"cheap": HASH, "dear": DEARER, "dear2": other})
    assert not fit(passwords, user, b"wrong")
    assert [each[4:6] for each in compared] == [b"04", b"05"]
    # Where it is another's password, too.
    assert fit(passwords, user, b"right") == (user == b"cheap")
    assert fit(passwords, user, b"other") == (user == b"dear")
    assert fit(passwords, user, b"another") == (user == b"dear2")
    assert [each[4:6] for each in compared] == [b"04", b"05"] * 4


def test_what_was_let_in_is_after_a_change_of_others(compared: list[bytes]) -> None:
    passwords = Passwords({"prom": HASH})
    assert fit(passwords, b"prom", b"right")
    passwords.change({"prom": HASH, "other": DEARER})
    assert fit(passwords, b"prom", b"right")
    assert len(compared) == 1
    passwords.change({"prom": DEARER, "other": HASH})
    assert not fit(passwords, b"prom", b"right")
    assert fit(passwords, b"prom", b"other")
    assert fit(passwords, b"other", b"right")
    passwords.change({"other": HASH})
    assert not fit(passwords, b"prom", b"other")


def test_what_was_wrong_may_be_right_after_a_change() -> None:
    passwords = Passwords({"prom": HASH})
    assert not fit(passwords, b"prom", b"other")
    assert not fit(passwords, b"new", b"right")
    passwords.change({"prom": DEARER, "new": HASH})
    assert fit(passwords, b"prom", b"other")
    assert fit(passwords, b"new", b"right")


def test_bcrypt_takes_72_bytes() -> None:
    """As other exporters do: a hash of a longer password is of its beginning."""
    longest = b"x" * 72
    passwords = Passwords({"prom": bcrypt.hashpw(longest, bcrypt.gensalt(4)).decode()})
    assert not fit(passwords, b"prom", longest[:-1])
    assert fit(passwords, b"prom", longest + b"yz")
    assert fit(passwords, b"prom", longest)
    assert not fit(passwords, b"prom", b"a\0b")


def test_one_comparison_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has been let in before, and the health, are answered meanwhile."""
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
        second = pool.submit(get, port, "/", basic("prom", "wrong, too"))
        assert get(port, "/", basic("prom", "right"))[0].status == 200
        assert get(port, "/healthz")[0].status == 200
        assert not (first.done() or second.done())
        go_on.set()
        assert [each.result(10)[0].status for each in (first, second)] == [401, 401]


def test_whoever_has_waited_in_vain_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where comparisons take longer than anybody may wait for."""
    passwords = Passwords({"prom": HASH})
    go_on, real = threading.Event(), bcrypt.checkpw
    monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(bcrypt, "checkpw", lambda *each: go_on.wait(10) and real(*each))

    async def story() -> None:
        asked = [b"wrong %d" % number for number in range(8)] + [b"right"]
        done = await asyncio.gather(
            *(passwords.fit(b"prom", each, "") for each in asked), return_exceptions=True
        )
        assert [type(each) for each in done] == [BusyError] * 9
        again = [
            asyncio.create_task(passwords.fit(b"prom", each, ""))
            for each in (b"new 1", b"new 2", b"right")
        ]
        await asyncio.sleep(0)
        monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 10)
        go_on.set()
        assert await again[2]
        assert not again[0].done()
        await asyncio.gather(*again)

    asyncio.run(story())


def test_wrong_passwords_keep_no_right_one_out() -> None:
    """Eight clients of one address try and try: each right first login comes in."""
    users = {
        f"user{number}": bcrypt.hashpw(b"right %d" % number, bcrypt.gensalt(6)).decode()
        for number in range(20)
    }
    passwords = Passwords(users)

    async def tries(client: int) -> None:
        for number in itertools.count():
            assert not await passwords.fit(b"user1", b"%d %d" % (client, number), "")

    async def come_in() -> list[bool]:
        trying = [asyncio.create_task(tries(client)) for client in range(8)]
        await asyncio.sleep(0)
        came = [
            await passwords.fit(user.encode(), b"right %d" % number, "")
            for number, user in enumerate(users)
        ]
        for task in trying:
            task.cancel()
        await asyncio.gather(*trying, return_exceptions=True)
        return came

    assert asyncio.run(come_in()) == [True] * 20


@pytest.mark.parametrize("status", [401, 429])
def test_a_comparison_that_fails_is_no_way_in(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Nor does it keep out those that come after it."""

    async def busy(*_: object) -> bool:
        raise BusyError

    async def app(_: Request) -> Answer:
        return line(200, "in")

    authentication = Authentication(WebConfig(users={"prom": HASH}))
    if status == 429:
        monkeypatch.setattr(Passwords, "fit", busy)
    headers = {name.lower(): text for name, text in basic("prom", "wrong").items()}
    answer = asyncio.run(_awaited(authentication.around(app)(Request("GET", "/", headers=headers))))
    assert answer.status == status
    assert dict(answer.headers).keys() & {"WWW-Authenticate", "Retry-After"}


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer


def test_an_error_of_bcrypt_is_told_and_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords({"prom": HASH})
    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "checkpw", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(passwords, b"prom", b"right")
    assert fit(passwords, b"prom", b"right")
