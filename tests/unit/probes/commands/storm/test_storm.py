"""What storm does to whom: mappings, ways, the pace, and what it says."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from nvscope.probes.commands.storm import cli
from nvscope.probes.commands.storm.memory import PAGE_BYTES
from nvscope.probes.commands.storm.run import Tally, storm
from nvscope.probes.vms import running_vms
from nvscope.probes.vms.identity import Vm


class Fake:
    """A way that takes two pages a call, or fails with the errnos that it is given."""

    def __init__(self, *failures: int) -> None:
        self.plan = ["two pages"]
        self.calls = 0
        self.closed = False
        self._failures = iter(failures)

    def call(self) -> int:
        self.calls += 1
        number = next(self._failures, 0)
        if number:
            raise OSError(number, os.strerror(number))
        return 2

    def close(self) -> None:
        self.closed = True


def answers(*said: bool) -> Iterator[bool]:
    yield from said
    while True:
        yield True


def test_a_storm_counts_calls_pages_and_errors() -> None:
    wants_end = answers(*[False] * 5)
    tally = storm(Fake(errno.EAGAIN, 0, errno.EAGAIN), 1e9, None, lambda _: next(wants_end))
    assert (tally.calls, tally.pages, tally.errors) == (5, 6, {"EAGAIN": 2})
    assert not tally.ended
    assert "5 calls" in tally.text() and "errors: EAGAIN 2" in tally.text()


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENOENT])
def test_a_storm_ends_with_its_vm(number: int) -> None:
    tally = storm(Fake(0, number), 1e9, None, lambda _: False)
    assert (tally.calls, tally.ended) == (2, True)


def test_a_storm_waits_for_its_turn_and_its_end() -> None:
    waits: list[float] = []

    def stopped(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    storm(Fake(), 0.5, 60, stopped)
    assert waits[0] == 0
    assert 1.5 < waits[1] <= 2
    assert storm(Fake(), 1e9, 1e-9, lambda _: False).calls == 0


def test_result_as_json() -> None:
    said = Tally(calls=10, pages=3, seconds=2.0).as_json()
    assert (said["bytes"], said["rate"], said["errors"]) == (3 * PAGE_BYTES, 5.0, {})
    json.dumps(said)


class NoSignals:
    """None comes."""

    def came(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The command as root, with a VM and a way that is none."""
    made = Fake()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(running_vms, "find", lambda wanted: Vm(wanted, "", 77))
    monkeypatch.setattr(cli, "make", lambda wanted, vm: made)
    monkeypatch.setattr(cli, "Ends", NoSignals)
    return made


def invoke(*options: str) -> click.testing.Result:
    return CliRunner().invoke(cli.command, ["--vm", "db", *options])


def test_the_command(fake: Fake) -> None:
    done = invoke("--yes", "--rate", "1e6", "--duration", "50ms", "--json")
    assert done.exit_code == 0
    assert fake.closed and fake.calls > 1
    said = json.loads(done.stdout)
    assert (said["vm"], said["pid"], said["way"], said["pages"]) == (
        "db",
        77,
        "pageout",
        2 * fake.calls,
    )
    assert done.stderr.splitlines()[:2] == ["VM db (pid 77)", "two pages"]


def test_a_dry_run_does_nothing(fake: Fake) -> None:
    done = invoke("--dry-run")
    assert (done.exit_code, fake.calls, fake.closed) == (0, 0, True)
    assert "two pages" in done.stderr


def test_without_a_terminal_it_wants_a_yes(fake: Fake) -> None:
    done = invoke()
    assert (done.exit_code, fake.calls, fake.closed) == (2, 0, True)
    assert "no terminal to ask on: give --yes" in done.stderr


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = invoke("--yes")
    assert (done.exit_code, "run as root" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "options",
    [
        *(("--rate", text) for text in ("0", "nan", "inf", "-inf", "1e-300", "1e300", "-1")),
        ("--pages", "0"),
        ("--duration", "soon"),
        ("--way", "cold"),
        ("extra",),
    ],
)
def test_wrong_usage(fake: Fake, options: tuple[str, ...]) -> None:
    assert invoke(*options).exit_code == 2
    assert fake.calls == 0
