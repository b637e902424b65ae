"""L1's own stage-2 tables, written straight into guest memory (L1's stage-1 MMU is off).

4 KiB granule, 36-bit nested IPAs, so one level-1 table of 64 entries of 1 GiB is the root.
Descriptors: Arm ARM D8.3 (VMSAv8-64 descriptor formats), stage 2.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

PAGE_BYTES = 1 << 12
BLOCK_BYTES = 1 << 21
IPA_BITS = 36
# VTCR_EL2: RES1 bit 31, PS=1 (36-bit output), SH0=3, ORGN0=IRGN0=1, SL0=1 (start at level 1),
# T0SZ=64-36. Arm ARM D24.2, VTCR_EL2; KVM's walk_nested_s2_pgd() warns where SL0 and T0SZ disagree.
VTCR = 0x8001_355C

_VALID = 1
_TABLE_OR_PAGE = 1 << 1
_ATTRIBUTES = (0b1111 << 2) | (0b11 << 8) | (1 << 10)  # MemAttr write-back, SH inner, AF
_READ = 1 << 6
_WRITE = 1 << 7
_NO_EXEC = 0b10 << 53
_ADDRESS = ((1 << 48) - 1) & ~(PAGE_BYTES - 1)
_SHIFTS = {1: 30, 2: 21, 3: 12}  # level -> log2 of the bytes that one entry covers
_ROOT_ENTRIES = 1 << (IPA_BITS - _SHIFTS[1])

Memory = bytearray | mmap.mmap


@dataclass(frozen=True)
class Translation:
    """Where a nested IPA leads: canonical_ipa in bytes; level 2 is a 2 MiB block, 3 a page."""

    canonical_ipa: int
    level: int
    writable: bool
    executable: bool


class TableMemory:
    """The part of guest memory that holds tables: pages are handed out, never taken back.

    memory: the guest's memory; memory_ipa: the canonical IPA of its first byte;
    [start_ipa, end_ipa): the part to use, page aligned.
    """

    def __init__(self, memory: Memory, memory_ipa: int, start_ipa: int, end_ipa: int) -> None:
        self._memory = memory
        self._memory_ipa = memory_ipa
        self._next_ipa = start_ipa
        self._end_ipa = end_ipa

    def allocate(self) -> int:
        """The canonical IPA of a zeroed page. Raises MemoryError when there is none left."""
        table_ipa = self._next_ipa
        if table_ipa + PAGE_BYTES > self._end_ipa:
            raise MemoryError("no room for another stage-2 table")
        offset = table_ipa - self._memory_ipa
        self._memory[offset : offset + PAGE_BYTES] = bytes(PAGE_BYTES)
        self._next_ipa += PAGE_BYTES
        return table_ipa

    def read(self, descriptor_ipa: int) -> int:
        """The descriptor at a canonical IPA."""
        offset = descriptor_ipa - self._memory_ipa
        value: int = struct.unpack_from("<Q", self._memory, offset)[0]
        return value

    def write(self, descriptor_ipa: int, descriptor: int) -> None:
        """Set the descriptor at a canonical IPA."""
        struct.pack_into("<Q", self._memory, descriptor_ipa - self._memory_ipa, descriptor)


class Stage2:
    """One context's stage 2: nested IPA -> canonical IPA.

    >>> s2 = Stage2(TableMemory(bytearray(8 * PAGE_BYTES), 0, 0, 8 * PAGE_BYTES))
    >>> s2.map(0x1000, 0x40001000, PAGE_BYTES)
    >>> hex(s2.walk(0x1008).canonical_ipa)
    '0x40001008'
    >>> s2.walk(0x2000) is None
    True
    """

    def __init__(self, tables: TableMemory) -> None:
        self._tables = tables
        self.root_ipa = tables.allocate()

    def vttbr(self, vmid: int) -> int:
        """VTTBR_EL2 for this stage 2: VMID in bits 63:48, BADDR below (Arm ARM D24.2)."""
        return (vmid << 48) | self.root_ipa

    def map(
        self,
        nested_ipa: int,
        canonical_ipa: int,
        size: int,
        *,
        writable: bool = True,
        executable: bool = False,
    ) -> None:
        """Map size bytes, in 2 MiB blocks where both addresses and the size allow, else pages.

        A mapping of the same level is replaced; it is for the caller to tell L1 to invalidate.
        Raises ValueError for what is misaligned, out of range, or lies in a block of another size.
        """
        self._check(nested_ipa, size)
        if canonical_ipa % PAGE_BYTES:
            raise ValueError(f"canonical IPA {canonical_ipa:#x} is not page aligned")
        flags = _VALID | _ATTRIBUTES | _READ | (_WRITE if writable else 0)
        flags |= 0 if executable else _NO_EXEC
        for nested, level in _pieces(nested_ipa, canonical_ipa - nested_ipa, size):
            canonical = canonical_ipa + nested - nested_ipa
            leaf = canonical | flags | (_TABLE_OR_PAGE if level == 3 else 0)
            self._tables.write(self._descriptor_ipa(nested, level), leaf)

    def unmap(self, nested_ipa: int, size: int) -> None:
        """Make size bytes invalid, whether mapped or not; blocks only as wholes (ValueError)."""
        self._check(nested_ipa, size)
        nested, end = nested_ipa, nested_ipa + size
        while nested < end:
            level, descriptor_ipa = self._find(nested)
            step = 1 << _SHIFTS[level]
            if self._tables.read(descriptor_ipa) & _VALID:
                if nested % step or nested + step > end:
                    raise ValueError(f"nested IPA {nested:#x} lies in a block of {step:#x} bytes")
                self._tables.write(descriptor_ipa, 0)
            nested = (nested | (step - 1)) + 1

    def walk(self, nested_ipa: int) -> Translation | None:
        """What KVM's kvm_walk_nested_s2() must find for a nested IPA. At most 3 reads."""
        if not 0 <= nested_ipa < 1 << IPA_BITS:
            return None
        level, descriptor_ipa = self._find(nested_ipa)
        leaf = self._tables.read(descriptor_ipa)
        if not leaf & _VALID:
            return None
        offset = nested_ipa & ((1 << _SHIFTS[level]) - 1)
        return Translation(
            (leaf & _ADDRESS) + offset, level, bool(leaf & _WRITE), not leaf & _NO_EXEC
        )

    def _find(self, nested_ipa: int) -> tuple[int, int]:
        """(level, canonical IPA) of the descriptor at which a walk of nested_ipa ends."""
        table_ipa, level = self.root_ipa, 1
        while True:
            descriptor_ipa = table_ipa + _index(nested_ipa, level) * 8
            descriptor = self._tables.read(descriptor_ipa)
            if level == 3 or descriptor & 0b11 != _VALID | _TABLE_OR_PAGE:
                return level, descriptor_ipa
            table_ipa, level = descriptor & _ADDRESS, level + 1

    def _descriptor_ipa(self, nested_ipa: int, level: int) -> int:
        """The canonical IPA of the leaf of that level; makes the tables above it."""
        table_ipa = self.root_ipa
        for above in range(1, level):
            descriptor_ipa = table_ipa + _index(nested_ipa, above) * 8
            descriptor = self._tables.read(descriptor_ipa)
            if not descriptor & _VALID:
                descriptor = self._tables.allocate() | _VALID | _TABLE_OR_PAGE
                self._tables.write(descriptor_ipa, descriptor)
            elif not descriptor & _TABLE_OR_PAGE:
                raise ValueError(f"nested IPA {nested_ipa:#x} lies in a block: unmap that first")
            table_ipa = descriptor & _ADDRESS
        leaf_ipa = table_ipa + _index(nested_ipa, level) * 8
        if level < 3 and self._tables.read(leaf_ipa) & 0b11 == _VALID | _TABLE_OR_PAGE:
            raise ValueError(f"nested IPA {nested_ipa:#x} has a table of pages: no block fits")
        return leaf_ipa

    @staticmethod
    def _check(nested_ipa: int, size: int) -> None:
        if size <= 0 or nested_ipa % PAGE_BYTES or size % PAGE_BYTES:
            raise ValueError(f"nested IPA {nested_ipa:#x} or size {size:#x} is not page aligned")
        if nested_ipa < 0 or nested_ipa + size > 1 << IPA_BITS:
            raise ValueError(f"nested IPA {nested_ipa:#x} + {size:#x} is over {IPA_BITS} bits")


def _index(nested_ipa: int, level: int) -> int:
    entries = _ROOT_ENTRIES if level == 1 else 512
    return (nested_ipa >> _SHIFTS[level]) & (entries - 1)


def _pieces(nested_ipa: int, delta: int, size: int) -> Iterator[tuple[int, int]]:
    """The (nested IPA, level) of each leaf; delta: canonical minus nested."""
    end = nested_ipa + size
    while nested_ipa < end:
        whole = nested_ipa % BLOCK_BYTES == 0 and nested_ipa + BLOCK_BYTES <= end
        level = 2 if whole and delta % BLOCK_BYTES == 0 else 3
        yield nested_ipa, level
        nested_ipa += 1 << _SHIFTS[level]
