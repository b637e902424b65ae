"""The memory of a guest: private and anonymous, in small pages or in huge ones."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from pathlib import Path

from nvscope.lab.workloads.vmm.kvm import KvmError
from nvscope.lab.workloads.vmm.stage2 import HOST

_SMAPS = Path("/proc/self/smaps")


def populated(size: int, huge_from: int | None = None) -> mmap.mmap:
    """size bytes (a multiple of HOST.block_bytes), all written, so that no page is the zero page.

    Small pages only, so that one page is one fault; huge ones from the offset huge_from on (a
    multiple of HOST.block_bytes). Never copied on fork, for that would write protect it. Raises
    KvmError where the kernel gives no huge pages.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    small = size if huge_from is None else huge_from
    with suppress(OSError):  # EINVAL: a kernel without transparent huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE, 0, small)
    memory.madvise(mmap.MADV_DONTFORK)
    if huge_from is not None:
        memory.madvise(mmap.MADV_HUGEPAGE, huge_from, size - huge_from)
    for offset in range(0, size, mmap.PAGESIZE):
        memory[offset] = 0
    if huge_from is not None:
        _require_huge(memory, size - huge_from)
    return memory


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping lies in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _require_huge(memory: mmap.mmap, huge_bytes: int) -> None:
    if address_of(memory) % HOST.block_bytes:
        raise KvmError("the guest's memory is not aligned to a block, so KVM maps no blocks of it")
    lines = [line.split() for line in _SMAPS.read_text().splitlines()]
    found = sum(int(words[1]) << 10 for words in lines if words[0] == "AnonHugePages:")
    if found < huge_bytes:
        raise KvmError(f"{found} bytes of the guest's memory are huge pages, not {huge_bytes}")
