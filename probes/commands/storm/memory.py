"""The memory of a guest in its VMM: which mappings, and which of their pages are there."""

from __future__ import annotations

import mmap
import re
from array import array
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.errors import LackError

PAGE_BYTES = mmap.PAGESIZE
# Mappings smaller than this part of the largest one are the VMM's own, firmware or video memory.
_SMALLEST_PART = 4
# Files that are memory: what lies in them goes to swap, not to a disk of its own.
_MEMORY_FILES = ("/memfd:", "/dev/shm/", "/dev/zero (deleted)", "/SYSV")

# /proc/PID/smaps, proc(5): "start-end perms offset dev inode path", and below it VmFlags.
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)")
# VmFlags: not copied on fork (what QEMU does to guest memory), locked, huge pages of hugetlbfs,
# device memory, may be merged by KSM.
DONT_FORK, LOCKED, HUGETLB, DEVICE, MERGEABLE = "dc", "lo", "ht", "pf", "mg"

# A page's entry in /proc/PID/pagemap: 8 bytes; bit 63: it is there (pagemap.rst).
_ENTRY_BYTES, _PRESENT = 8, 63


@dataclass(frozen=True)
class GuestMapping:
    """A mapping of a process; name: its file, "" for anonymous memory; flags: of VmFlags."""

    start: int
    size_bytes: int
    name: str
    flags: frozenset[str]

    @property
    def pages(self) -> int:
        """How many pages it has room for."""
        return self.size_bytes // PAGE_BYTES


def guest_memory(smaps: str) -> list[GuestMapping]:
    """Those mappings of a VMM that are its guest's RAM, largest first; none if none looks like it.

    Large and writable, and no file's: where there are some that a fork leaves out, those alone.
    """
    writable = [m for m in _mappings(smaps) if DEVICE not in m.flags]
    found = [m for m in writable if DONT_FORK in m.flags] or writable
    found.sort(key=lambda m: -m.size_bytes)
    return [m for m in found if m.size_bytes * _SMALLEST_PART >= found[0].size_bytes]


def read_guest_memory(pid: int, proc: Path = Path("/proc")) -> list[GuestMapping]:
    """The guest's RAM in a process. Raises LackError where it cannot be told."""
    try:
        found = guest_memory((proc / str(pid) / "smaps").read_text(errors="replace"))
    except OSError as error:
        raise LackError(f"cannot read the mappings of process {pid}: {error.strerror}") from None
    if not found:
        raise LackError(f"process {pid} has no mapping that looks like a guest's memory")
    return found


def present(pagemap: Path, start: int, pages: int) -> int:
    """How many of so many pages from an address on are in memory now. Raises OSError."""
    with pagemap.open("rb", buffering=0) as file:
        file.seek(start // PAGE_BYTES * _ENTRY_BYTES)
        entries = array("Q", file.read(pages * _ENTRY_BYTES))
    return sum(entry >> _PRESENT for entry in entries)


def _mappings(smaps: str) -> list[GuestMapping]:
    found: list[GuestMapping] = []
    head: re.Match[str] | None = None
    for line in smaps.splitlines():
        if line.startswith("VmFlags:") and head:
            found += _mapping(head, frozenset(line.split()[1:]))
        elif match := _HEAD.fullmatch(line):
            head = match
    return found


def _mapping(head: re.Match[str], flags: frozenset[str]) -> list[GuestMapping]:
    start, end, permissions, inode, name = head.groups()
    anonymous = inode == "0" and not name.startswith("[")
    named = name.startswith("[anon:")
    if not permissions.startswith("rw"):
        return []
    if not (anonymous or named or name.startswith(_MEMORY_FILES) or HUGETLB in flags):
        return []
    first = int(start, 16)
    return [GuestMapping(first, int(end, 16) - first, name, flags)]
