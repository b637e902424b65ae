"""Ways to make the host take pages back from a guest: each loses nothing, and undoes itself."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nvscope.probes.commands.storm.memory import (
    HUGETLB,
    LOCKED,
    MERGEABLE,
    PAGE_BYTES,
    GuestMapping,
    present,
)
from nvscope.probes.commands.storm.switch import Switch
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import madvise

PROC, CGROUPS, KSM = Path("/proc"), Path("/sys/fs/cgroup"), Path("/sys/kernel/mm/ksm")


class Way(Protocol):
    """plan: what a call does and to what, a line each. call: how many pages were taken, or, where
    the kernel does not say whose they were, a net count that can be off; raises OSError. close:
    what was changed is as before, or as others have set it since.
    """

    plan: list[str]

    def call(self) -> int: ...

    def close(self) -> None: ...


class Pageout:
    """MADV_PAGEOUT on pages of the guest's RAM, chosen at random: they go to swap.

    Raises LackError where nothing could go.
    """

    def __init__(
        self,
        pid: int,
        memory: Sequence[GuestMapping],
        pages: int,
        seed: int | None,
        proc: Path = PROC,
    ) -> None:
        _require_swap(proc / "swaps")
        self._memory = [m for m in memory if not {LOCKED, HUGETLB} & m.flags]
        if not self._memory:
            raise LackError(
                "the guest's memory is locked, or in huge pages of hugetlbfs: it cannot be paged"
                " out; start the VM without, or use another --way"
            )
        self._pages = min(pages, *(m.pages for m in self._memory))
        self._random = random.Random(seed)
        self._weights = [m.pages for m in self._memory]
        self._pagemap = proc / str(pid) / "pagemap"
        self._pidfd = os.pidfd_open(pid)
        self.plan = [
            f"MADV_PAGEOUT on {self._pages} pages of {PAGE_BYTES} bytes, anywhere in",
            *(f"  {_described(m)}" for m in self._memory),
        ]

    def call(self) -> int:
        (mapping,) = self._random.choices(self._memory, self._weights)
        start = mapping.start + self._random.randrange(mapping.pages - self._pages + 1) * PAGE_BYTES
        before = present(self._pagemap, start, self._pages)
        madvise.advise(self._pidfd, start, self._pages * PAGE_BYTES, madvise.MADV_PAGEOUT)
        return max(0, before - present(self._pagemap, start, self._pages))

    def close(self) -> None:
        os.close(self._pidfd)


class Reclaim:
    """memory.reclaim of the VM's cgroup: the kernel chooses the pages, of all that are in it."""

    def __init__(self, pid: int, pages: int, proc: Path = PROC, cgroups: Path = CGROUPS) -> None:
        self._folder = _cgroup(pid, proc, cgroups)
        self._bytes = pages * PAGE_BYTES
        self._asked = f"{self._bytes} swappiness=max"
        members = _members(self._folder)
        self.plan = [
            f"memory.reclaim of {self._bytes} bytes from cgroup"
            f" /{self._folder.relative_to(cgroups)}, which has {members} processes",
        ]

    def call(self) -> int:
        before = self._stolen()
        try:
            self._write()
        except BlockingIOError:  # EAGAIN: less than asked
            if not (taken := self._stolen() - before):
                raise
            return taken
        return self._stolen() - before

    def close(self) -> None:
        pass

    def _write(self) -> None:
        file = self._folder / "memory.reclaim"
        try:
            file.write_text(self._asked)
        except OSError as error:
            if error.errno != errno.EINVAL or self._asked == str(self._bytes):
                raise
            self._asked = str(self._bytes)  # a kernel that knows no swappiness here
            file.write_text(self._asked)

    def _stolen(self) -> int:
        """Pages reclaimed from the group so far (memory.stat, pgsteal)."""
        lines = (self._folder / "memory.stat").read_text().splitlines()
        counts = dict(line.split() for line in lines)
        return int(counts["pgsteal"])


class Ksm:
    """KSM switched on and off by turns: pages that are equal become one, and are write-protected.

    Raises LackError where the kernel has no KSM, nothing of the VM may be merged, or another storm
    switches it.
    """

    def __init__(
        self, pid: int, memory: Sequence[GuestMapping], proc: Path = PROC, ksm: Path = KSM
    ) -> None:
        if not (ksm / "run").is_file():
            raise LackError("this kernel has no KSM: it needs CONFIG_KSM, or use another --way")
        if not any(MERGEABLE in m.flags for m in memory):
            raise LackError(
                "KSM may merge nothing of this VM: start it with mergeable memory"
                " (QEMU: -machine mem-merge=on), or use another --way"
            )
        self._merged = proc / str(pid) / "ksm_merging_pages"
        self._switch = Switch(ksm / "run")
        now = self._switch.value()
        self.plan = [f"KSM on and off by turns, for all of this host (it is {now} now)"]
        self._on = False

    def call(self) -> int:
        before = int(self._merged.read_text())
        self._on = not self._on
        self._switch.set("1" if self._on else "0")
        return max(0, int(self._merged.read_text()) - before)

    def close(self) -> None:
        self._switch.put_back()


def _require_swap(swaps: Path) -> None:
    """proc(5): a head line, then one for each: file, type, size and used in KiB, priority."""
    lines = [line.split() for line in swaps.read_text().splitlines()[1:]]
    if not any(int(fields[2]) > int(fields[3]) for fields in lines):
        raise LackError(
            "there is no free swap, so a guest's memory cannot be paged out: add some"
            " (mkswap and swapon on a file or on /dev/zram0)"
        )


def _cgroup(pid: int, proc: Path, cgroups: Path) -> Path:
    """The nearest cgroup of a process that memory can be reclaimed from, below the root."""
    lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    path = next((line.partition("::")[2] for line in lines if line.startswith("0::")), "/")
    folder = cgroups / path.lstrip("/")
    while folder != cgroups and cgroups in folder.parents:
        if (folder / "memory.reclaim").is_file():
            return folder
        folder = folder.parent
    raise LackError(
        "the VM is in no cgroup of its own (v2, with memory.reclaim): start it in one,"
        " for example by systemd-run --scope, or use another --way"
    )


def _members(folder: Path) -> int:
    """How many processes are in a group and below it."""
    pids: set[str] = set()
    for file in [folder / "cgroup.procs", *folder.glob("**/cgroup.procs")]:
        with contextlib.suppress(OSError):  # of a threaded group: its processes are those above
            pids.update(file.read_text().split())
    return len(pids)


def _described(mapping: GuestMapping) -> str:
    what = mapping.name or "anonymous"
    return f"{mapping.size_bytes >> 20} MiB at {mapping.start:#x} ({what})"
