"""What a storm has switched on the host is as before, whatever ends it: a real process, a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nvscope.probes.commands.storm import cli
from nvscope.probes.commands.storm.memory import PAGE_BYTES, GuestMapping
from nvscope.probes.commands.storm.switch import Switch
from nvscope.probes.commands.storm.ways import Ksm
from nvscope.probes.errors import LackError
from nvscope.probes.vms import running_vms
from nvscope.probes.vms.identity import Vm
from tests.unit.probes.commands.storm import on_a_fake

SECONDS = 60  # for one program to start, or to end
MERGEABLE = [GuestMapping(0, PAGE_BYTES, "", frozenset({"mg"}))]


class Storms:
    """Starts storms that switch once, and then wait for their end."""

    def __init__(self, folder: Path) -> None:
        self.switch = folder / "run"
        self.switch.write_text("0\n")
        (folder / str(on_a_fake.PID)).mkdir()
        (folder / str(on_a_fake.PID) / "ksm_merging_pages").write_text("3\n")
        program = [sys.executable, on_a_fake.__file__, str(folder), str(folder)]
        self._command = [*program, "--vm", "db", "--yes", "--rate", "1e-5"]

    @contextlib.contextmanager
    def started(self, **how: Any) -> Iterator[subprocess.Popen[str]]:
        """One that has switched on; how: as for Popen."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        how = pipes | {"preexec_fn": _ignoring_nothing} | how
        with subprocess.Popen(self._command, **how) as process:
            try:
                self.await_value("1")
                yield process
            finally:
                process.kill()

    def await_value(self, value: str) -> None:
        """Wait until the switch has it."""
        ends = time.monotonic() + SECONDS
        while self.value() != value:
            assert time.monotonic() < ends, self.value()
            time.sleep(0.01)

    def value(self) -> str:
        return self.switch.read_text().strip()


@pytest.fixture
def storms(tmp_path: Path) -> Storms:
    return Storms(tmp_path)


@pytest.mark.parametrize(
    "number",
    [
        *(signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1),
        *(signal.SIGALRM, signal.SIGABRT, signal.SIGSEGV, signal.SIGXCPU, signal.SIGRTMIN + 3),
    ],
)
def test_any_signal_is_an_end(storms: Storms, number: int) -> None:
    with storms.started() as storm:
        storm.send_signal(number)
        said, errors = storm.communicate(timeout=SECONDS)
    assert (storm.returncode, storms.value()) == (0, "0")
    assert said.startswith("1 calls in ")
    assert "Traceback" not in errors


def test_signals_that_end_nothing_are_none(storms: Storms) -> None:
    with storms.started(preexec_fn=_nohup) as storm:
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT):
            storm.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            storm.wait(0.3)
        assert storms.value() == "1"
        storm.terminate()
        assert storm.wait(SECONDS) == 0
    assert storms.value() == "0"


def _ignoring_nothing() -> None:
    """These tests themselves may run under nohup, or in a shell's background."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_nobody_reads_any_more(storms: Storms) -> None:
    with storms.started() as storm:
        assert storm.stdout and storm.stderr
        storm.stdout.close()
        storm.terminate()
        assert storm.wait(SECONDS) == 0
        assert "Traceback" not in storm.stderr.read()
    assert storms.value() == "0"


def test_the_terminal_is_gone(storms: Storms) -> None:
    master, slave = os.openpty()
    on_it = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    with storms.started(start_new_session=True, preexec_fn=_take_terminal, **on_it) as storm:
        os.close(slave)
        os.close(master)  # SIGHUP, and what is written from now on fails
        assert storm.wait(SECONDS) == 0
    assert storms.value() == "0"


def _take_terminal() -> None:
    _ignoring_nothing()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_what_another_has_switched_stays(storms: Storms) -> None:
    with storms.started() as storm:
        storms.switch.write_text("2\n")
        storm.send_signal(signal.SIGHUP)
        _, errors = storm.communicate(timeout=SECONDS)
    assert (storm.returncode, storms.value()) == (0, "2")
    assert errors.splitlines()[-1] == f"nvscope: another has set {storms.switch} to 2: it stays so"


@pytest.fixture
def on_a_file(storms: Storms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storms:
    """The command in this process."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(running_vms, "find", lambda wanted: Vm(wanted, "", on_a_fake.PID))
    make = lambda wanted, vm: Ksm(vm.pid, MERGEABLE, tmp_path, tmp_path)  # noqa: E731
    monkeypatch.setattr(cli, "make", make)
    return storms


def test_a_dry_run_writes_nothing(on_a_file: Storms, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = cli.plan
    meanwhile = after(plan, lambda: on_a_file.switch.write_text("1\n"))
    monkeypatch.setattr(cli, "plan", meanwhile)
    done = CliRunner().invoke(cli.command, ["--vm", "db", "--way", "ksm", "--dry-run"])
    assert (done.exit_code, on_a_file.switch.read_text()) == (0, "1\n")


def test_a_no_writes_nothing(on_a_file: Storms, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(yes: bool) -> None:
        on_a_file.switch.write_text("1\n")
        raise click.Abort

    monkeypatch.setattr(cli, "_consent", no)
    done = CliRunner().invoke(cli.command, ["--vm", "db", "--way", "ksm"])
    assert (done.exit_code, on_a_file.switch.read_text()) == (1, "1\n")


def after(function: Callable[..., Any], then: Callable[[], object]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        result = list(function(*arguments))
        then()
        return result

    return both


def test_a_failure_puts_back_as_well(storms: Storms, tmp_path: Path) -> None:
    way = Ksm(on_a_fake.PID, MERGEABLE, tmp_path, tmp_path)
    with pytest.raises(ValueError, match="not ours"), contextlib.closing(way):
        way.call()
        raise ValueError("not ours")
    assert storms.value() == "0"


def test_what_others_want_meanwhile_is_put_back(storms: Storms) -> None:
    switch = Switch(storms.switch)
    switch.set("1")
    storms.switch.write_text("2\n")
    switch.set("0")
    switch.put_back()
    assert storms.value() == "2"


def test_one_storm_at_a_time_switches(storms: Storms) -> None:
    first = Switch(storms.switch)
    with pytest.raises(LackError, match=r"another storm switches .*: wait for its end"):
        Switch(storms.switch)
    first.put_back()
    Switch(storms.switch).put_back()


def test_a_switch_that_cannot_be_set_back(storms: Storms) -> None:
    switch = Switch(storms.switch)
    switch.set("1")
    storms.switch.unlink()
    storms.switch.mkdir()
    with pytest.raises(LackError, match=r"cannot set .* back: .*; it was 0 before"):
        switch.put_back()
