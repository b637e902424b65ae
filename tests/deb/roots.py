"""Fresh Debian roots, by mmdebstrap, and commands in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nvscope.lab.setup import apt, host

# What says where this machine's apt fetches from, and how; lists of indexes are the suite's own.
_KEPT, _LEFT_OUT = "Acquire::", "Acquire::IndexTargets"
# Names that apt, dpkg and others write whatever is installed.
NOISE = ("/dev", "/proc", "/sys", "/tmp", "/var/cache/apt", "/var/lib/apt", "/var/log")


@dataclass(frozen=True)
class Root:
    """A root file system of this machine's architecture; only root can make and enter one."""

    path: Path

    def run(self, command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a shell command in it, as root. timeout: seconds. Whatever it ends with is told."""
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child",
             f"--mount-proc={self.path}/proc", "chroot", self.path, "sh", "-c", command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                 "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def do(self, command: str, timeout: float = 600) -> str:
        """What a command prints that must succeed."""
        done = self.run(command, timeout)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def apt(self, words: str) -> str:
        """apt-get, without recommended packages."""
        return self.do(f"apt-get -q -y --no-install-recommends {words}")

    def files(self) -> set[str]:
        """All names in it, but those in NOISE."""
        found = set()
        for folder, folders, files in os.walk(self.path):
            below = f"/{Path(folder).relative_to(self.path)}".replace("/.", "/")
            folders[:] = [n for n in folders if os.path.join(below, n) not in NOISE]  # noqa: PTH118
            found |= {os.path.join(below, name) for name in (*folders, *files)}  # noqa: PTH118
        return found


def make(suite: str, path: Path, *packages: str) -> Iterator[Root]:
    """A root of a release, with packages besides the smallest set; for a fixture to yield."""
    if os.geteuid() != 0:
        pytest.fail("a fresh root is made and entered by root alone: run this as root")
    host.ready({"mmdebstrap": "mmdebstrap"})
    settings = path.with_suffix(".conf")
    settings.write_text(_acquire_settings())
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
         f"--keyring={apt.KEYRING}", f"--aptopt={settings}", "--skip=cleanup/apt/lists",
         f"--include={','.join(packages)}", suite, path, apt.mirror()],
        check=True, timeout=900,
    )  # fmt: skip
    shutil.copyfile("/etc/resolv.conf", path / "etc/resolv.conf")
    yield Root(path)
    shutil.rmtree(path)


def _acquire_settings() -> str:
    """This machine's, such as a proxy or a mirror without dates."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    lines = dump.stdout.splitlines(keepends=True)
    return "".join(li for li in lines if li.startswith(_KEPT) and not li.startswith(_LEFT_OUT))
