"""Ways in which a host takes pages back from a process: for a guest's memory, MMU notifiers."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from nvscope.probes.kernel.madvise import MADV_COLLAPSE, MADV_PAGEOUT, advise

CGROUPS = Path("/sys/fs/cgroup")
SWAP_MIB = 512
HUGE_BYTES = 2 << 20


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
        """Write memory.reclaim for anonymous memory; the kernel may take more or less.

        Where it takes less it says EAGAIN, which is no error here.
        """
        with contextlib.suppress(BlockingIOError):
            (self._folder / "memory.reclaim").write_text(f"{size_bytes} swappiness=max")

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


def mapping_of(pid: int, size_bytes: int) -> int:
    """The address of the process's mapping of this size: the guest's memory in a VMM."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if end - start == size_bytes:
            return start
    raise LookupError(f"process {pid} has no mapping of {size_bytes} bytes")


def page_out(pid: int, address: int, size_bytes: int) -> None:
    """MADV_PAGEOUT on another process's memory: it goes to swap, and comes back when touched."""
    _advise(pid, address, size_bytes, MADV_PAGEOUT)


def make_huge(pid: int, address: int) -> None:
    """MADV_COLLAPSE: what khugepaged does to 2 MiB in its own time, now (THP)."""
    _advise(pid, address, HUGE_BYTES, MADV_COLLAPSE)


def _advise(pid: int, address: int, size_bytes: int, advice: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        advise(pidfd, address, size_bytes, advice)
    finally:
        os.close(pidfd)
