"""The build beside a demo: at the lowest priority, told in one line, ended with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nvscope.lab.kernel.building.build import FLAVOURS
from nvscope.lab.runs import background
from nvscope.lab.runs.background import Build
from nvscope.probes.errors import LackError

pytestmark = pytest.mark.usefixtures("cache")


def shell(script: str) -> Build:
    build = Build(("sh", "-c", script))
    build.begin()
    return build


def test_what_has_not_begun_needs_no_end() -> None:
    with Build(("false",)) as build:
        assert not build.log.exists()


def family(build: Build, count: int) -> list[psutil.Process]:
    """Its processes, when there are so many."""
    for _ in range(200):
        leader = psutil.Process(build._process.pid)
        found = [leader, *leader.children(recursive=True)]
        if len(found) == count and build.log.read_text():
            return found
        time.sleep(0.05)
    raise AssertionError(found)


@pytest.fixture
def stubborn() -> Iterator[Build]:
    with shell("trap '' TERM; echo up; sleep 600; sleep 600") as build:
        yield build


def test_it_has_the_lowest_priority() -> None:
    with shell("echo up; sleep 600 & wait") as build:
        for process in family(build, 2):
            assert process.nice() == 19
            assert os.getsid(process.pid) != os.getsid(0)


def test_its_output_is_in_the_log_and_its_last_line_is_its_progress() -> None:
    title = FLAVOURS["lab"].title
    with shell(f"echo '  … {title}'; echo '  … {title}: 34 %  CC fs/inode.o' >&2") as build:
        build.result()
        assert build.log.read_text().count(title) == 2
        assert build.progress() == "0 min, 34 %  CC fs/inode.o"
        assert not build.running()
        assert build.failure() is None


def test_before_it_has_said_anything_it_begins() -> None:
    with shell("sleep 600") as build:
        assert build.progress() == "0 min, begins"
        assert build.running()
        assert build.failure() is None


def test_a_failure_has_its_reason_and_the_place_of_the_log() -> None:
    with shell("echo 'made   tools'; echo 'Error: no disk left' >&2; exit 3") as build:
        with pytest.raises(LackError, match="build failed: no disk left") as error:
            build.result()
        assert str(build.log) in error.value.message
        assert build.failure() == error.value.message


def test_a_failure_without_a_reason_has_its_exit_status() -> None:
    with shell("kill -9 $$") as build, pytest.raises(LackError, match="exit -9"):
        build.result()


def test_nothing_is_left_at_the_end_of_the_block() -> None:
    with shell("echo up; sleep 600 & sleep 600") as build:
        processes = family(build, 3)
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_what_a_dead_build_has_started_is_ended_too() -> None:
    with shell("echo up; sleep 600 & wait") as build:
        processes = family(build, 2)
        processes[0].kill()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_what_does_not_hear_is_killed(stubborn: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "END_SECONDS", 0.3)
    processes = family(stubborn, 2)
    stubborn.end()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_second_interruption_does_not_wait(
    stubborn: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(stubborn, 2)
    monkeypatch.setattr(stubborn._process, "wait", _interrupted(stubborn._process.wait))
    with pytest.raises(KeyboardInterrupt):
        stubborn.end()
    assert not stubborn.running()


def _interrupted(wait: object) -> object:
    """A wait that is interrupted where it has a limit."""

    def waits(timeout: float | None = None) -> object:
        if timeout is not None:
            raise KeyboardInterrupt
        return wait()  # type: ignore[operator]

    return waits


def test_it_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from nvscope.lab.runs.background import Build\n"
        "build = Build(('sh', '-c', 'echo up; exec sleep 600'))\n"
        "build.begin()\n"
        "print(build._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=tmp_path
    ) as demo:
        assert demo.stdout
        build = psutil.Process(int(demo.stdout.readline()))
        demo.send_signal(signal.SIGKILL)
        assert psutil.wait_procs([build], timeout=10)[1] == []
