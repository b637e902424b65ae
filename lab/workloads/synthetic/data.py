"""A nested guest's data as the host has it: it reads and writes words, and takes pages back."""

from __future__ import annotations

import mmap
import struct

from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.vmm.protocol import RAM_IPA

WORD_BYTES = 8


class DataMemory:
    """From DATA_IPA on, what workloads work with. memory: the guest's, from RAM_IPA on."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.end_ipa = RAM_IPA + len(memory)

    def check(self, canonical_ipa: int, size: int = WORD_BYTES) -> None:
        """Raise ValueError unless all of it is data."""
        if not DATA_IPA <= canonical_ipa <= canonical_ipa + size <= self.end_ipa:
            raise ValueError(
                f"canonical IPA {canonical_ipa:#x} + {size:#x} is outside "
                f"{DATA_IPA:#x} to {self.end_ipa:#x}"
            )

    def words(self, first: int, count: int, stride: int) -> range | list[int]:
        """Where count words are, stride bytes apart. Raises ValueError unless all are data."""
        found = strided(first, count, stride)
        for address in found:
            self.check(address)
        return found

    def read(self, canonical_ipa: int) -> int:
        """A word."""
        value: int = struct.unpack_from("<Q", self._memory, canonical_ipa - RAM_IPA)[0]
        return value

    def write(self, canonical_ipa: int, value: int) -> None:
        """Write a word."""
        struct.pack_into("<Q", self._memory, canonical_ipa - RAM_IPA, value)

    def take_back(self, canonical_ipa: int, size: int) -> None:
        """One madvise(MADV_DONTNEED) of whole pages. Raises ValueError."""
        self.check(canonical_ipa, size)
        if canonical_ipa % PAGE_BYTES or size % PAGE_BYTES:
            raise ValueError(f"canonical IPA {canonical_ipa:#x} + {size:#x} is not page aligned")
        self._memory.madvise(mmap.MADV_DONTNEED, canonical_ipa - RAM_IPA, size)


def strided(first: int, count: int, stride: int) -> range | list[int]:
    """
    >>> list(strided(16, 3, 8)), strided(16, 3, 0)
    ([16, 24, 32], [16, 16, 16])
    """
    return range(first, first + count * stride, stride) if stride else [first] * count
