"""The processes of `nvscope validate -j`: none is left, whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nvscope.analysis.validate.jobs.local import running
from nvscope.probes.errors import LackError
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.traces import M1, VM, booted, written


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace that takes a while."""
    rows = booted().events
    rows += [
        Event("map", kvm=VM, mmu=M1, nested_ipa=page * PAGE, canonical_ipa=page * PAGE, size=PAGE)
        for page in range(400_000)
    ]
    path = tmp_path_factory.mktemp("long") / "trace.arrows"
    path.write_bytes(written(rows, variant="none"))
    return path


def children(process: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
    """Its processes, as soon as there are so many."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        found = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        if len(found) == count:
            return found
        time.sleep(0.01)
    raise AssertionError("there are none")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_none_is_left(long: Path, ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nvscope", "validate", "-j2", str(long)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # In a background job, which ignores it, it would do so as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        workers = children(process, 2)
        if ending == signal.SIGINT:
            os.killpg(process.pid, ending)  # as a terminal does
        else:
            process.send_signal(ending)
        out, err = process.communicate(timeout=20)
    assert out == b""
    if ending == signal.SIGINT:
        assert (err, process.returncode) == (b"nvscope: interrupted\n", 130)
    _, left = psutil.wait_procs(workers, timeout=10)
    assert not left


def test_one_that_is_killed_is_an_error() -> None:
    before = multiprocessing.active_children()
    with (
        pytest.raises(LackError, match="a process was killed while it judged"),
        running(2) as executor,
    ):
        list(executor.run(os._exit, [(1,)]))
    assert multiprocessing.active_children() == before
