"""The hosts of one kernel, one at a time."""

from __future__ import annotations

import hashlib
from typing import Self

from nvscope.lab.assets import Assets
from nvscope.lab.host.vm import Lab
from nvscope.lab.series.subjects.candidate import Candidate
from nvscope.probes.errors import LackError

BOOT_SECONDS, ICOUNT_BOOT_SECONDS = 300.0, 900.0


class Hosts:
    """Boots a kernel when a host is asked for. A context manager: at its end none is left."""

    def __init__(self, candidate: Candidate, ready: Assets) -> None:
        self._candidate, self._ready = candidate, ready
        self._host: Lab | None = None
        self._icount = False

    def get(self, *, icount: bool) -> Lab:
        """The host that is up, if it is of that kind, else a new one. Raises GuestError."""
        if self._host and self._host.alive() and self._icount == icount:
            return self._host
        self.end()
        # Of Debian's kernels one CPU: a full unmap takes a third of the time there.
        cpus = 2 if self._candidate.kernel.built and not icount else 1
        self._host = self._ready.boot(cpus=cpus, icount=icount, **self._candidate.machine)
        self._icount = icount
        return self._host.wait_ready(ICOUNT_BOOT_SECONDS if icount else BOOT_SECONDS)

    def end(self) -> None:
        """End the host that is up. What went wrong in it is not to be the next check's."""
        if self._host:
            self._host.close()
        self._host = None

    def image(self) -> str:
        """A digest of the kernel."""
        with self._ready.machine.kernel.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]

    def no_linux(self) -> str:
        """Why no Linux can be a guest there; "" where one can."""
        try:
            self._ready.require_linux()
        except LackError as error:
            return error.message
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
