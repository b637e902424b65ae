"""Hosts of a series of which none is booted."""

from __future__ import annotations

from typing import Any, ClassVar

from nvscope.lab.host.remote import GuestError
from nvscope.lab.series.subjects.candidate import Candidate


class FakeHosts:
    """Hosts.get() gives a word for a host, unless it is to fail."""

    booted: ClassVar[list[str]] = []

    def __init__(self, candidate: Candidate, _ready: object) -> None:
        self._name = candidate.name

    def get(self, *, icount: bool) -> Any:
        self.booted.append(f"{self._name}{' icount' if icount else ''}")
        if "first-mmu" in self._name:
            raise GuestError("the guest ended while it booted; its console:\nKernel panic - oh")
        if "debug" in self._name:
            raise GuestError("the guest was not ready in 300 s")
        return self

    def warnings(self) -> list[str]:
        return []

    def end(self) -> None: ...

    def no_linux(self) -> str:
        return ""

    def image(self) -> str:
        return "00ff"

    def __enter__(self) -> FakeHosts:
        return self

    def __exit__(self, *_: object) -> None: ...
