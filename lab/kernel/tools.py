"""What all builds from the kernel's source use: the compiler, and errors of one line."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from nvscope.lab.setup.paths import cache_dir
from nvscope.probes.errors import LackError


def cross() -> str:
    """The prefix of the compiler that builds for arm64; empty on an arm64 machine."""
    return "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"


def make(tree: Path, *arguments: str) -> list[str]:
    """The command line of a make for arm64 in this source tree.

    Always both: a make without ARCH takes the tree for one of this machine's architecture.
    """
    return ["make", "-C", str(tree), "ARCH=arm64", f"CROSS_COMPILE={cross()}", *arguments]


def versions(*commands: str) -> list[str]:
    """The first line of what each says to --version, for a cache key."""
    said = [
        subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
        for command in commands
    ]
    return [text.splitlines()[0] for text in said]


def run(argv: Sequence[str], cwd: Path, what: str) -> None:
    """Run a step of a build; raises LackError with the reason, as far as that was printed."""
    done = subprocess.run(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        output = (done.stderr + done.stdout).strip().splitlines()
        raise LackError(f"{what} failed: {first_error(output) or (output or argv)[-1]}")


def first_error(lines: Iterable[str]) -> str | None:
    """The first line in which a compiler or make complains.

    >>> first_error(["  CC      lib/error.o", "a.c:1:2: error: no", "make: *** [a.o] Error 1"])
    'a.c:1:2: error: no'
    """
    complaint = re.compile(r"\berror:|\*\*\*", re.IGNORECASE)
    return next((line.strip() for line in lines if complaint.search(line)), None)


def require_disk(needed_bytes: int, what: str) -> None:
    """Raises LackError where the cache has less room than a build needs."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir()).free
    if free < needed_bytes:
        raise LackError(
            f"{what} needs {needed_bytes >> 30} GiB in {cache_dir()}, and {free >> 30} GiB are "
            "free: make room, or set NVSCOPE_CACHE to another disk"
        )
