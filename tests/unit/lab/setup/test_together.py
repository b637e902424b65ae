"""Jobs at once: their results, and what becomes of the others' commands when one fails."""

from __future__ import annotations

import subprocess
import threading
import time

import psutil
import pytest

from nvscope.lab.setup.together import together
from nvscope.probes.errors import LackError


def test_results_are_in_the_order_of_the_jobs() -> None:
    meet = threading.Barrier(2, timeout=10)  # neither ends without the other

    def job(word: str) -> str:
        meet.wait()
        return word

    assert together(lambda: job("a"), lambda: job("b")) == ["a", "b"]


def sleeps(apart: bool, made: list[subprocess.Popen[bytes]]) -> None:
    """A job whose command takes a minute, unless it is ended. apart: in a group of its own."""
    with subprocess.Popen(["sleep", "60"], process_group=0 if apart else None) as process:
        made.append(process)
    raise LackError(f"it ended with {process.returncode}")


@pytest.mark.parametrize("error", [LackError("no network"), KeyboardInterrupt()])
def test_where_one_fails_the_commands_of_the_others_are_ended(error: BaseException) -> None:
    made: list[subprocess.Popen[bytes]] = []

    def fails() -> None:
        while not made:
            time.sleep(0.01)
        raise error

    began = time.monotonic()
    with pytest.raises(type(error)) as raised:
        together(lambda: sleeps(False, made), fails)
    assert raised.value is error
    assert time.monotonic() - began < 20
    assert made[0].returncode == -15


def test_a_job_that_goes_on_to_its_next_command_is_ended_there() -> None:
    first: list[subprocess.Popen[bytes]] = []
    second: list[subprocess.Popen[bytes]] = []

    def goes_on() -> None:
        with pytest.raises(LackError):
            sleeps(False, first)
        sleeps(False, second)

    def fails() -> None:
        while not first:
            time.sleep(0.01)
        raise LackError("no network")

    with pytest.raises(LackError, match="no network"):
        together(goes_on, fails)
    assert second[0].returncode == -15


def test_what_has_a_group_of_its_own_is_let_be() -> None:
    # The installation of packages: half of one would be left to the user.
    made: list[subprocess.Popen[bytes]] = []

    def fails() -> None:
        while not made:
            time.sleep(0.01)
        raise LackError("no network")

    def look() -> None:
        time.sleep(1)
        running.append(psutil.pid_exists(made[0].pid) and made[0].poll() is None)
        made[0].kill()

    running: list[bool] = []
    observer = threading.Thread(target=lambda: (fails_seen.wait(10), look()))
    fails_seen = threading.Event()

    def fails_then_says() -> None:
        try:
            fails()
        finally:
            fails_seen.set()

    observer.start()
    with pytest.raises(LackError, match="no network"):
        together(lambda: sleeps(True, made), fails_then_says)
    observer.join(10)
    assert running == [True]
