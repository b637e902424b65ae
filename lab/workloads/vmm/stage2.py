"""L1's own stage-2 tables, written straight into guest memory (L1's stage-1 MMU is off).

Nested IPAs have 36 bits. The granule is the host's page size: KVM maps nothing smaller, and hides
smaller granules from L1 (limit_nv_id_reg() in arch/arm64/kvm/nested.c).
Descriptors: Arm ARM D8.3 (VMSAv8-64 descriptor formats), stage 2.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

IPA_BITS = 36
LAST_LEVEL = 3  # of pages; blocks are one level above
_ENTRY_BYTES = 8
# VTCR_EL2: RES1 bit 31, PS=1 (36-bit output), SH0=3, ORGN0=IRGN0=1, T0SZ=64-36, and SL0=1, which is
# level 1 with 4 KiB pages and level 2 with larger ones. Arm ARM D24.2, VTCR_EL2. KVM's
# walk_nested_s2_pgd() warns where TG0, SL0 and T0SZ disagree.
_VTCR = 0x8001_355C
_VTCR_TG0_SHIFT = 14


@dataclass(frozen=True)
class Granule:
    """What a page size makes of L1's stage 2.

    page_shift: log2 of a page's bytes; root_level: where a walk starts; tg0: VTCR_EL2.TG0.

    >>> hex(SMALL.vtcr), SMALL.level_bytes(1) >> 30, SMALL.block_bytes >> 20
    ('0x8001355c', 1, 2)
    """

    page_shift: int
    root_level: int
    tg0: int

    @property
    def page_bytes(self) -> int:
        """Bytes of a page, and of a table below the root."""
        return 1 << self.page_shift

    @property
    def block_bytes(self) -> int:
        """Bytes of a level-2 block."""
        return self.level_bytes(LAST_LEVEL - 1)

    @property
    def vtcr(self) -> int:
        """VTCR_EL2 for it."""
        return _VTCR | self.tg0 << _VTCR_TG0_SHIFT

    @property
    def levels(self) -> range:
        """The levels of a walk, the root's first."""
        return range(self.root_level, LAST_LEVEL + 1)

    def level_bytes(self, level: int) -> int:
        """Bytes that one entry of a level covers."""
        return 1 << self._shift(level)

    def index(self, nested_ipa: int, level: int) -> int:
        """The number of the entry for nested_ipa in a table of that level."""
        bits = IPA_BITS - self._shift(level) if level == self.root_level else self._bits
        return (nested_ipa >> self._shift(level)) & ((1 << bits) - 1)

    def page(self, ipa: int) -> int:
        """The first byte of an address's page."""
        return ipa & -self.page_bytes

    @property
    def _bits(self) -> int:
        """Bits that one level resolves: as many entries as a page holds."""
        return self.page_shift - 3

    def _shift(self, level: int) -> int:
        return self.page_shift + (LAST_LEVEL - level) * self._bits


# TG0 is 0b10 for 16 KiB and 0b01 for 64 KiB (which was not tried on a host). Each root table is
# within one page.
SMALL = Granule(page_shift=12, root_level=1, tg0=0)
MEDIUM = Granule(page_shift=14, root_level=2, tg0=2)
LARGE = Granule(page_shift=16, root_level=2, tg0=1)
# Of this host. No arm64 host has another page size; others only run the tests.
HOST = {each.page_bytes: each for each in (SMALL, MEDIUM, LARGE)}.get(mmap.PAGESIZE, SMALL)

_VALID = 1
_TABLE_OR_PAGE = 1 << 1
_ATTRIBUTES = (0b1111 << 2) | (0b11 << 8) | (1 << 10)  # MemAttr write-back, SH inner, AF
_READ = 1 << 6
_WRITE = 1 << 7
_NO_EXEC = 0b10 << 53
_ADDRESS_BITS = 48

Memory = bytearray | mmap.mmap


@dataclass(frozen=True)
class Translation:
    """Where a nested IPA leads: canonical_ipa in bytes; level 2 is a block, 3 a page.

    Level 0: L1's stage 2 is off, and no entry of it is behind the translation.
    """

    canonical_ipa: int
    level: int
    writable: bool
    executable: bool


class TableMemory:
    """The part of guest memory that holds tables: pages are handed out, never taken back.

    memory: the guest's memory; memory_ipa: the canonical IPA of its first byte;
    [start_ipa, end_ipa): the part to use, page aligned.
    """

    def __init__(
        self,
        memory: Memory,
        memory_ipa: int,
        start_ipa: int,
        end_ipa: int,
        granule: Granule = SMALL,
    ) -> None:
        self.granule = granule
        self._memory = memory
        self._memory_ipa = memory_ipa
        self._next_ipa = start_ipa
        self._end_ipa = end_ipa

    def allocate(self) -> int:
        """The canonical IPA of a zeroed page. Raises MemoryError when there is none left."""
        table_ipa, size = self._next_ipa, self.granule.page_bytes
        if table_ipa + size > self._end_ipa:
            raise MemoryError("no room for another stage-2 table")
        offset = table_ipa - self._memory_ipa
        self._memory[offset : offset + size] = bytes(size)
        self._next_ipa += size
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

    >>> s2 = Stage2(TableMemory(bytearray(0x8000), 0, 0, 0x8000))
    >>> s2.map(0x1000, 0x40001000, SMALL.page_bytes)
    >>> hex(s2.walk(0x1008).canonical_ipa)
    '0x40001008'
    >>> s2.walk(0x2000) is None
    True
    """

    def __init__(self, tables: TableMemory) -> None:
        self._tables = tables
        self._granule = tables.granule
        self._address = ((1 << _ADDRESS_BITS) - 1) & -self._granule.page_bytes
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
        """Map size bytes, in blocks where both addresses and the size allow, else pages.

        A mapping of the same level is replaced; it is for the caller to tell L1 to invalidate.
        Raises ValueError for what is misaligned, out of range, or lies in a block of another size.
        """
        self._check(nested_ipa, size)
        if canonical_ipa % self._granule.page_bytes:
            raise ValueError(f"canonical IPA {canonical_ipa:#x} is not page aligned")
        flags = _VALID | _ATTRIBUTES | _READ | (_WRITE if writable else 0)
        flags |= 0 if executable else _NO_EXEC
        for nested, level in self._pieces(nested_ipa, canonical_ipa - nested_ipa, size):
            canonical = canonical_ipa + nested - nested_ipa
            leaf = canonical | flags | (_TABLE_OR_PAGE if level == LAST_LEVEL else 0)
            self._tables.write(self._descriptor_ipa(nested, level), leaf)

    def unmap(self, nested_ipa: int, size: int) -> None:
        """Make size bytes invalid, whether mapped or not; blocks only as wholes (ValueError)."""
        self._check(nested_ipa, size)
        nested, end = nested_ipa, nested_ipa + size
        while nested < end:
            level, descriptor_ipa = self._find(nested)
            step = self._granule.level_bytes(level)
            if self._tables.read(descriptor_ipa) & _VALID:
                if nested % step or nested + step > end:
                    raise ValueError(f"nested IPA {nested:#x} lies in a block of {step:#x} bytes")
                self._tables.write(descriptor_ipa, 0)
            nested = (nested | (step - 1)) + 1

    def walk(self, nested_ipa: int) -> Translation | None:
        """What KVM's kvm_walk_nested_s2() must find for a nested IPA. One read for each level."""
        if not 0 <= nested_ipa < 1 << IPA_BITS:
            return None
        level, descriptor_ipa = self._find(nested_ipa)
        leaf = self._tables.read(descriptor_ipa)
        if not leaf & _VALID:
            return None
        offset = nested_ipa & (self._granule.level_bytes(level) - 1)
        return Translation(
            (leaf & self._address) + offset, level, bool(leaf & _WRITE), not leaf & _NO_EXEC
        )

    def _find(self, nested_ipa: int) -> tuple[int, int]:
        """(level, canonical IPA) of the descriptor at which a walk of nested_ipa ends."""
        table_ipa, level = self.root_ipa, self._granule.root_level
        while True:
            descriptor_ipa = table_ipa + self._granule.index(nested_ipa, level) * _ENTRY_BYTES
            descriptor = self._tables.read(descriptor_ipa)
            if level == LAST_LEVEL or descriptor & 0b11 != _VALID | _TABLE_OR_PAGE:
                return level, descriptor_ipa
            table_ipa, level = descriptor & self._address, level + 1

    def _descriptor_ipa(self, nested_ipa: int, level: int) -> int:
        """The canonical IPA of the leaf of that level; makes the tables above it."""
        table_ipa = self.root_ipa
        for above in range(self._granule.root_level, level):
            descriptor_ipa = table_ipa + self._granule.index(nested_ipa, above) * _ENTRY_BYTES
            descriptor = self._tables.read(descriptor_ipa)
            if not descriptor & _VALID:
                descriptor = self._tables.allocate() | _VALID | _TABLE_OR_PAGE
                self._tables.write(descriptor_ipa, descriptor)
            elif not descriptor & _TABLE_OR_PAGE:
                raise ValueError(f"nested IPA {nested_ipa:#x} lies in a block: unmap that first")
            table_ipa = descriptor & self._address
        leaf_ipa = table_ipa + self._granule.index(nested_ipa, level) * _ENTRY_BYTES
        if level < LAST_LEVEL and self._tables.read(leaf_ipa) & 0b11 == _VALID | _TABLE_OR_PAGE:
            raise ValueError(f"nested IPA {nested_ipa:#x} has a table of pages: no block fits")
        return leaf_ipa

    def _check(self, nested_ipa: int, size: int) -> None:
        if size <= 0 or (nested_ipa | size) % self._granule.page_bytes:
            raise ValueError(f"nested IPA {nested_ipa:#x} or size {size:#x} is not page aligned")
        if nested_ipa < 0 or nested_ipa + size > 1 << IPA_BITS:
            raise ValueError(f"nested IPA {nested_ipa:#x} + {size:#x} is over {IPA_BITS} bits")

    def _pieces(self, nested_ipa: int, delta: int, size: int) -> Iterator[tuple[int, int]]:
        """The (nested IPA, level) of each leaf; delta: canonical minus nested."""
        block_bytes, end = self._granule.block_bytes, nested_ipa + size
        while nested_ipa < end:
            whole = nested_ipa % block_bytes == 0 and nested_ipa + block_bytes <= end
            level = LAST_LEVEL - 1 if whole and delta % block_bytes == 0 else LAST_LEVEL
            yield nested_ipa, level
            nested_ipa += self._granule.level_bytes(level)
