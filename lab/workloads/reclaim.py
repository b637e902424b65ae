"""Ways in which a host takes pages back from a process: each page of a guest is one MMU notifier."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
KSM = Path("/sys/kernel/mm/ksm")
SWAP_MIB = 512


class Cgroup:
    """A cgroup of our own (cgroup v2), to reclaim from one guest only."""

    def __init__(self, name: str) -> None:
        (CGROUPS / "cgroup.subtree_control").write_text("+memory")
        self._folder = CGROUPS / name
        self._folder.mkdir(exist_ok=True)

    def add(self, pid: int) -> None:
        """Move the process, all its threads, into the group."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def reclaim(self, size_bytes: int) -> None:
        """Write memory.reclaim; the kernel may take less (then it says EAGAIN) or a bit more."""
        with contextlib.suppress(BlockingIOError):
            (self._folder / "memory.reclaim").write_text(f"{size_bytes} swappiness=200")

    def swapped_bytes(self) -> int:
        """What of the group is in swap now."""
        return int((self._folder / "memory.swap.current").read_text())


def swap_on_zram() -> None:
    """Compressed memory as swap, so that anonymous guest memory can be reclaimed."""
    if "zram0" in Path("/proc/swaps").read_text():
        return
    Path("/sys/block/zram0/disksize").write_text(f"{SWAP_MIB}M")
    for command in (["mkswap", "/dev/zram0"], ["swapon", "/dev/zram0"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def merge_same_pages(seconds: float, pages_per_pass: int) -> int:
    """Let KSM scan for a while; returns how many pages it has merged in all.

    Slow on purpose: a merged page is a notifier, and so is its un-merging later.
    """
    (KSM / "pages_to_scan").write_text(str(pages_per_pass))
    (KSM / "sleep_millisecs").write_text("200")
    (KSM / "run").write_text("1")
    time.sleep(seconds)
    (KSM / "run").write_text("0")  # stop scanning, keep what is merged
    return int((KSM / "pages_sharing").read_text())
