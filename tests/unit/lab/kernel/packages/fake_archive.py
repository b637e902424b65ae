"""An archive of packaged kernels that is not Debian's."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nvscope.lab.kernel import names
from nvscope.lab.kernel.names import Release
from nvscope.lab.kernel.packages import archive
from nvscope.probes.errors import LackError

RELEASES = (
    "6.12.107+deb13-arm64",
    "6.18.9+deb13-arm64",
    "6.18.15+deb13-arm64",
    "6.18.15+deb13-arm64-16k",
    "7.0.13+deb13-rt-arm64",
    "7.1.13+deb13-arm64",
    "7.3.4+deb13-arm64",
    "7.3.4+deb13-cloud-arm64",
)
OTHERS = (
    "linux-image-arm64",
    "linux-image-6.12.107+deb13-arm64-unsigned",
    "linux-image-6.18.15+deb13-arm64-dbg",
    "linux-image-6.1.0-40-armmp",
)
UNREACHABLE = "apt-get update failed: Could not connect"


def release(name: str) -> Release:
    found = names.release(name)
    assert found
    return found


class FakeApt:
    """An archive with RELEASES, but for the modules of 7.1.13; counts how often it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "apt/kernels"
        self.folder.mkdir(parents=True)
        self.packages = [f"linux-image-{name}" for name in RELEASES] + list(OTHERS)
        self.packages += [f"linux-{part}-7.3.4+deb13-arm64" for part in archive.PARTS[1:]]
        self.packages += ["linux-binary-7.1.13+deb13-arm64"]
        self.reachable = True
        self.reads = 0
        self.fetched: list[str] = []

    def update(self) -> None:
        if not self.reachable:
            raise LackError(UNREACHABLE)
        self.reads += 1

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.packages if name.startswith(prefix))

    def download_only(self, package: str, into: Path) -> Path:
        if not self.reachable:
            raise LackError(UNREACHABLE)
        self.fetched.append(package)
        return into / f"{package}.deb"

    def grow_old(self, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(self.folder / "names", (then, then))
