"""L1's stage-2 tables: descriptors, walks, and what is refused."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.lab.workloads.vmm.stage2 import (
    HOST,
    IPA_BITS,
    LARGE,
    MEDIUM,
    SMALL,
    Granule,
    Memory,
    Stage2,
    TableMemory,
    Translation,
)

PAGE_BYTES, BLOCK_BYTES = SMALL.page_bytes, SMALL.block_bytes
BASE = 0x4000_0000
TABLES = BASE + 0x1_0000
DATA = BASE + BLOCK_BYTES


def make(pages: int = 64) -> tuple[Stage2, Memory]:
    memory = bytearray(0x1_0000 + pages * PAGE_BYTES)
    return Stage2(TableMemory(memory, BASE, TABLES, BASE + len(memory))), memory


def descriptor(memory: Memory, ipa: int) -> int:
    offset = ipa - BASE
    return int.from_bytes(memory[offset : offset + 8], "little")


@pytest.mark.parametrize(
    ("granule", "tg0", "root_level"), [(SMALL, 0, 1), (MEDIUM, 0b10, 2), (LARGE, 0b01, 2)]
)
def test_vtcr_says_where_a_walk_of_36_bits_starts(
    granule: Granule, tg0: int, root_level: int
) -> None:
    vtcr = granule.vtcr
    assert (64 - (vtcr & 0x3F), vtcr >> 14 & 3) == (IPA_BITS, tg0)
    # Arm ARM D24.2, VTCR_EL2.SL0: walk_nested_s2_pgd() reads it so.
    sl0 = vtcr >> 6 & 3
    assert (2 if granule is SMALL else 3) - sl0 == root_level == granule.levels[0]
    # The root: check_base_s2_limits() wants it to be of at most 16 tables; here it is within one.
    assert 8 * (granule.index((1 << IPA_BITS) - 1, root_level) + 1) <= granule.page_bytes


def test_bytes_by_level() -> None:
    assert [SMALL.level_bytes(level) for level in SMALL.levels] == [1 << 30, 2 << 20, 4 << 10]
    assert [MEDIUM.level_bytes(level) for level in MEDIUM.levels] == [32 << 20, 16 << 10]
    assert [LARGE.level_bytes(level) for level in LARGE.levels] == [512 << 20, 64 << 10]
    assert HOST.page_bytes == mmap.PAGESIZE


@pytest.mark.parametrize("granule", [MEDIUM, LARGE])
def test_larger_pages_walk_two_levels(granule: Granule) -> None:
    page, block = granule.page_bytes, granule.block_bytes
    memory = bytearray(4 * page)
    s2 = Stage2(TableMemory(memory, BASE, BASE, BASE + len(memory), granule))
    s2.map(page, 3 * block, page)
    s2.map(block, 4 * block, block)
    assert s2.walk(page + 8) == Translation(3 * block + 8, 3, True, False)
    assert s2.walk(2 * block - 8) == Translation(5 * block - 8, 2, True, False)
    assert s2.walk(0) is None
    root = [int.from_bytes(memory[at : at + 8], "little") for at in (0, 8)]
    assert [entry & 0b11 for entry in root] == [0b11, 0b01]
    with pytest.raises(ValueError, match="aligned"):
        s2.map(page // 2, 0, page)


def test_page_descriptors() -> None:
    s2, memory = make()
    s2.map(0x1000, DATA, PAGE_BYTES)
    level1 = descriptor(memory, s2.root_ipa)
    level2 = descriptor(memory, level1 & ~0xFFF)
    leaf = descriptor(memory, (level2 & ~0xFFF) + 8)
    assert level1 & 0xFFF == level2 & 0xFFF == 0b11
    # Page, write-back memory, readable and writable, inner shareable, accessed, not executable.
    assert leaf == DATA | 0b11 | 0xF << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10 | 1 << 54


def test_vttbr_holds_vmid_and_root() -> None:
    s2, _ = make()
    assert s2.vttbr(7) == 7 << 48 | TABLES


def test_walk_says_what_was_mapped() -> None:
    s2, _ = make()
    s2.map(0x5000, DATA + 0x3000, 2 * PAGE_BYTES, writable=False, executable=True)
    assert s2.walk(0x6010) == Translation(DATA + 0x4010, 3, writable=False, executable=True)
    assert s2.walk(0x4FFF) is None
    assert s2.walk(0x7000) is None
    assert s2.walk(1 << IPA_BITS) is None


def test_aligned_ranges_become_blocks() -> None:
    s2, _ = make()
    nested = 3 * BLOCK_BYTES - PAGE_BYTES
    s2.map(nested, DATA - PAGE_BYTES, BLOCK_BYTES + 2 * PAGE_BYTES)
    levels = [walk_level(s2, nested + at) for at in (0, PAGE_BYTES, BLOCK_BYTES)]
    assert levels == [3, 2, 2]
    assert walk_level(s2, nested + PAGE_BYTES + BLOCK_BYTES) == 3


def test_unaligned_delta_stays_pages() -> None:
    s2, _ = make()
    s2.map(BLOCK_BYTES, DATA + PAGE_BYTES, BLOCK_BYTES)
    assert walk_level(s2, BLOCK_BYTES) == 3


def walk_level(s2: Stage2, nested_ipa: int) -> int:
    found = s2.walk(nested_ipa)
    assert found is not None
    return found.level


def test_unmap_leaves_the_neighbours() -> None:
    s2, _ = make()
    s2.map(0, DATA, 4 * PAGE_BYTES)
    s2.unmap(PAGE_BYTES, 2 * PAGE_BYTES)
    mapped = [s2.walk(page * PAGE_BYTES) is not None for page in range(4)]
    assert mapped == [True, False, False, True]
    s2.unmap(0, 1 << 30)  # what is not mapped is no error
    assert s2.walk(0) is None


@pytest.mark.parametrize(
    ("nested_ipa", "canonical_ipa", "size"),
    [
        (0x800, DATA, PAGE_BYTES),
        (0x1000, DATA + 8, PAGE_BYTES),
        (0x1000, DATA, 0x800),
        (0x1000, DATA, 0),
        ((1 << IPA_BITS) - PAGE_BYTES, DATA, 2 * PAGE_BYTES),
        (-PAGE_BYTES, DATA, PAGE_BYTES),
    ],
)
def test_bad_ranges_are_refused(nested_ipa: int, canonical_ipa: int, size: int) -> None:
    s2, _ = make()
    with pytest.raises(ValueError, match="IPA"):
        s2.map(nested_ipa, canonical_ipa, size)


def test_blocks_and_pages_do_not_mix_silently() -> None:
    s2, _ = make()
    s2.map(0, DATA, BLOCK_BYTES)
    with pytest.raises(ValueError, match="block"):
        s2.map(PAGE_BYTES, DATA, PAGE_BYTES)
    with pytest.raises(ValueError, match="block"):
        s2.unmap(PAGE_BYTES, PAGE_BYTES)
    s2.unmap(0, BLOCK_BYTES)
    s2.map(PAGE_BYTES, DATA, PAGE_BYTES)
    with pytest.raises(ValueError, match="table"):
        s2.map(0, DATA, BLOCK_BYTES)


def test_table_memory_ends() -> None:
    s2, _ = make(pages=2)
    with pytest.raises(MemoryError):
        s2.map(0, DATA, PAGE_BYTES)


def test_two_contexts_share_the_memory_not_the_tables() -> None:
    memory = bytearray(0x2_0000)
    tables = TableMemory(memory, BASE, TABLES, BASE + len(memory))
    first, second = Stage2(tables), Stage2(tables)
    first.map(0, DATA, PAGE_BYTES)
    second.map(0, DATA + PAGE_BYTES, PAGE_BYTES)
    found = [s2.walk(0) for s2 in (first, second)]
    assert [at.canonical_ipa for at in found if at] == [DATA, DATA + PAGE_BYTES]


@given(st.dictionaries(st.integers(0, (1 << 24) - 1), st.integers(0, 511), max_size=8))
def test_pages_anywhere(mappings: dict[int, int]) -> None:
    s2, _ = make()
    for nested, canonical in mappings.items():
        s2.map(nested * PAGE_BYTES, DATA + canonical * PAGE_BYTES, PAGE_BYTES)
    for nested, canonical in mappings.items():
        found = s2.walk(nested * PAGE_BYTES + 8)
        assert found == Translation(DATA + canonical * PAGE_BYTES + 8, 3, True, False)
