"""The lab kernel's build beside a demo: what nobody waits for has the lowest priority."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from nvscope.lab.kernel.building.build import FLAVOURS
from nvscope.lab.processes.lifetime import die_with_parent
from nvscope.lab.setup.paths import cache_dir
from nvscope.lab.setup.steps import console
from nvscope.probes.errors import LackError

LOWEST = 19  # nice(1)
# -P: the folder that we are in is no place for modules.
COMMAND = (sys.executable, "-P", "-m", "nvscope", "lab", "build", "--kernel", "lab")
# It removes what it has made so far, and lets apt install what it has begun with.
END_SECONDS = 180.0


class Build:
    """`nvscope lab build` as a process of its own, once it has begun. The block's end is its end.

    log: the file with all that it says.
    """

    _process: subprocess.Popen[bytes]

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self.log = cache_dir() / "lab-build.log"
        self._command = command

    def begin(self) -> None:
        """Start it; what it fetches and installs is not to delay a demo's first metrics."""
        console.print(f"the lab kernel is built in the background; its output: {self.log}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                ["nice", "-n", str(LOWEST), "ionice", "-c", "idle", "-t", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C is for the demo, which ends this in order.
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (only a prctl)
            )
        self._prefer(LOWEST)

    def running(self) -> bool:
        """Whether it is at work."""
        return self._process.poll() is None

    def progress(self) -> str:
        """How far it is, in a line."""
        minutes = (time.monotonic() - self._started) / 60
        last = self._said()[-1:] or ["begins"]
        return f"{minutes:.0f} min, {last[0].removeprefix(FLAVOURS['lab'].title + ': ')}"

    def failure(self) -> str | None:
        """Why it has failed, and where all is that it said; None unless it has."""
        if self._process.poll() in (None, 0):
            return None
        errors = [line for line in self._said() if line.startswith("Error: ")]
        reason = errors[-1][len("Error: ") :] if errors else f"exit {self._process.returncode}"
        return f"the lab kernel's build failed: {reason} (its output: {self.log})"

    def result(self) -> None:
        """Wait for its end. Raises LackError where it failed."""
        self._process.wait()
        if failure := self.failure():
            raise LackError(failure)

    def end(self) -> None:
        """End it in order, with all that it has started; may be called twice."""
        if self._process.poll() == 0:
            return
        self._signal(signal.SIGTERM)
        if self.running():
            self._prefer(0)  # on a busy machine it would take long to remove what it has made
            console.print(f"ending the lab kernel's build ({self.progress()})", markup=False)
            self._wait()

    def _wait(self) -> None:
        try:
            self._process.wait(END_SECONDS)
        except BaseException as error:
            self._signal(signal.SIGKILL)
            self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise

    def _prefer(self, nice: int) -> None:
        """Give it this priority, as far as we may."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, nice)
        # sched(7): where the scheduler groups by session, nice counts within one only.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(nice))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _said(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.strip(" …") for line in lines if line.strip(" …")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_process"):
            self.end()
