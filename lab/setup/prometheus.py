"""Debian's Prometheus for the tests: the server and promtool, unpacked and not installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from nvscope.lab.setup import steps, store
from nvscope.lab.setup.apt import Apt, host_suite, native_architecture

PACKAGE = "prometheus"
# All that the two need of other packages is libc.
PROGRAMS = ("prometheus", "promtool")


def unpack() -> Path:
    """The folder with PROGRAMS, of this machine's release and architecture. Raises LackError."""
    suite, architecture = host_suite(), native_architecture()
    key = store.digest(Path(__file__), suite, architecture)
    if store.path_of(PACKAGE, key).is_dir():
        return store.path_of(PACKAGE, key)
    with steps.step("Debian's Prometheus, 19 MB"):
        apt = Apt(PACKAGE, architecture, (suite,))
        return store.artifact(PACKAGE, key, lambda folder: _make(folder, apt))


def _make(folder: Path, apt: Apt) -> None:
    apt.update()
    unpacked = folder / "unpacked"
    package = apt.download_only(PACKAGE, unpacked)
    subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    for program in PROGRAMS:
        (unpacked / "usr/bin" / program).rename(folder / program)
    shutil.rmtree(unpacked)
