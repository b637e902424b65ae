"""A recording that leaves the guest while it is made: what a crash cuts short can still be read."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from nvscope.lab.host.remote import DAY_SECONDS, GuestError, limited
from nvscope.lab.host.vm import Lab

BEGIN_SECONDS, END_SECONDS = 600.0, 120.0
_READY = "nvscope: recording"


class Recording:
    """`nvscope record` in a guest, to a file of this machine. A context manager.

    strict: each probe point has to attach. Raises GuestError where it does not begin.
    """

    def __init__(self, host: Lab, path: Path, *, strict: bool) -> None:
        self._host = host
        self._said = path.with_suffix(".log")
        command = f"echo pid $$ >&2; exec nvscope record {'--strict ' if strict else ''}-"
        with path.open("wb") as trace, self._said.open("wb") as said:
            self._ssh = subprocess.Popen(
                host.remote.arguments(limited(command, DAY_SECONDS)),
                stdin=subprocess.DEVNULL,
                stdout=trace,
                stderr=said,
            )
        try:
            self._wait_ready()
        except BaseException:
            self._end()
            raise

    def finish(self) -> None:
        """Stop it as Ctrl-C does; the trace is whole then. Raises GuestError."""
        self._host.run(f"kill -{signal.SIGINT} {self._pid()}")
        try:
            if self._ssh.wait(END_SECONDS) != 0:
                raise GuestError(f"`nvscope record` failed:\n{self.errors()[-3000:]}")
        except subprocess.TimeoutExpired:
            raise GuestError(f"`nvscope record` did not end in {END_SECONDS:.0f} s") from None

    def errors(self) -> str:
        """What it has printed on its standard error."""
        return self._said.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._ssh.poll() is None and self._host.alive() and "pid " in self.errors():
            self._host.run(f"kill -9 {self._pid()}", check=False)
        self._ssh.kill()
        self._ssh.wait()
        self._said.unlink(missing_ok=True)

    def _pid(self) -> int:
        return int(self.errors().split("pid ", 1)[1].split()[0])

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + BEGIN_SECONDS
        while _READY not in self.errors():
            if self._ssh.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"`nvscope record` did not begin:\n{self.errors()[-3000:]}")
            time.sleep(0.1)
