"""The lab that `nvscope lab boot` keeps up: how the other commands find it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nvscope.lab.host.remote import Remote
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup.paths import cache_dir


@dataclass(frozen=True)
class Running:
    """A lab of another process.

    kernel: as in assets.Assets; metrics_port: on 127.0.0.1, the guest's exporter.
    """

    kernel: str
    pid: int
    started: float
    ssh_port: int
    metrics_port: int
    keys: str
    control: str

    @property
    def remote(self) -> Remote:
        """The way into its guest."""
        return Remote(self.ssh_port, Path(self.keys), Path(self.control))


@contextmanager
def announced(lab: Lab, kernel: str) -> Iterator[Running]:
    """Let other commands find this lab while the block runs."""
    entry = Running(
        kernel,
        lab.pid,
        psutil.Process(lab.pid).create_time(),
        lab.remote.port,
        lab.metrics_port,
        str(lab.remote.keys),
        str(lab.remote.control),
    )
    path = _folder() / f"{lab.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry.__dict__))
    try:
        yield entry
    finally:
        path.unlink(missing_ok=True)


def find(kernel: str | None = None) -> Running | None:
    """A lab that runs now, of this kernel if one is named; entries of dead ones are dropped."""
    for path in sorted(_folder().glob("*.json")):
        entry = Running(**json.loads(path.read_text()))
        if not _alive(entry):
            path.unlink(missing_ok=True)
        elif kernel in (None, entry.kernel):
            return entry
    return None


def _alive(entry: Running) -> bool:
    try:
        return abs(psutil.Process(entry.pid).create_time() - entry.started) < 1
    except psutil.NoSuchProcess:
        return False


def _folder() -> Path:
    return cache_dir() / "running"
