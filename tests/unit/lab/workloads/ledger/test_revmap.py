"""The reverse map's model, rule by rule, and what each makes the ledger count."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from nvscope.lab.workloads.ledger.revmap import Entry, Record, ReverseMap, Stores
from tests.unit.lab.workloads.ledger.guest import (
    BLOCK_BYTES,
    NESTED_BLOCK,
    PAGE_BYTES,
    Guest,
    canonical,
    mapped,
    nested,
)

BLOCK = 0x4020_0000
NEAR, FAR = 0x8000_0000, 0x9000_0000  # nested IPAs


def entries(revmap: ReverseMap) -> list[Entry]:
    """All of them, in order."""
    found: list[Entry] = []
    start = 0
    while (entry := revmap.find(start, 1 << 48)) is not None:
        found.append(entry)
        start = entry.end
    return found


def test_the_same_mapping_again_changes_nothing() -> None:
    revmap = ReverseMap(Stores())
    assert revmap.record(NEAR, BLOCK, PAGE_BYTES) is Record.STORED
    assert revmap.record(NEAR, BLOCK, PAGE_BYTES) is Record.UNCHANGED
    assert entries(revmap) == [Entry(BLOCK, PAGE_BYTES, NEAR)]


def test_nested_ipa_0_is_known() -> None:
    revmap = ReverseMap(Stores())
    revmap.record(0, BLOCK, PAGE_BYTES)
    assert entries(revmap) == [Entry(BLOCK, PAGE_BYTES, 0)]


@pytest.mark.parametrize("page_first", [True, False])
def test_block_and_page_merge_in_either_order(page_first: bool) -> None:
    revmap = ReverseMap(Stores())
    page, block = (FAR, BLOCK + 7 * PAGE_BYTES, PAGE_BYTES), (NEAR, BLOCK, BLOCK_BYTES)
    first, second = (page, block) if page_first else (block, page)
    assert revmap.record(*first) is Record.STORED
    assert revmap.record(*second) is Record.OVERLAPPED
    assert entries(revmap) == [Entry(BLOCK, BLOCK_BYTES, None)]


def test_even_what_is_congruent_is_an_overlap() -> None:
    # The page as the block has it: L1 has split its block. The ranges differ, so nothing is known.
    revmap = ReverseMap(Stores())
    revmap.record(NEAR, BLOCK, BLOCK_BYTES)
    offset = 7 * PAGE_BYTES
    assert revmap.record(NEAR + offset, BLOCK + offset, PAGE_BYTES) is Record.OVERLAPPED


def test_what_lies_in_an_unknown_entry_changes_nothing() -> None:
    revmap = ReverseMap(Stores())
    revmap.record(NEAR, BLOCK, BLOCK_BYTES)
    revmap.record(FAR, BLOCK, BLOCK_BYTES)
    assert revmap.record(FAR, BLOCK + PAGE_BYTES, PAGE_BYTES) is Record.UNCHANGED
    assert entries(revmap) == [Entry(BLOCK, BLOCK_BYTES, None)]


def test_a_block_swallows_known_and_unknown_pages() -> None:
    revmap = ReverseMap(Stores())
    revmap.record(NEAR, BLOCK, PAGE_BYTES)
    revmap.record(FAR, BLOCK, PAGE_BYTES)
    revmap.record(NEAR, BLOCK + 5 * PAGE_BYTES, PAGE_BYTES)
    revmap.record(NEAR, BLOCK + BLOCK_BYTES, PAGE_BYTES)  # the next one: stays
    assert revmap.record(NEAR, BLOCK, BLOCK_BYTES) is Record.OVERLAPPED
    assert entries(revmap) == [
        Entry(BLOCK, BLOCK_BYTES, None),
        Entry(BLOCK + BLOCK_BYTES, PAGE_BYTES, NEAR),
    ]


def test_a_failed_record_leaves_the_entries_and_ends_recording() -> None:
    stores = Stores()
    revmap = ReverseMap(stores)
    revmap.record(NEAR, BLOCK, PAGE_BYTES)
    stores.fail_in = 1
    assert revmap.record(FAR, BLOCK, PAGE_BYTES) is Record.FAILED
    assert revmap.broken
    assert revmap.record(NEAR, BLOCK, PAGE_BYTES) is Record.SKIPPED
    assert entries(revmap) == [Entry(BLOCK, PAGE_BYTES, NEAR)]
    revmap.reset()
    assert not revmap.broken
    assert entries(revmap) == []


def test_only_stores_are_counted_towards_a_failure() -> None:
    stores = Stores()
    revmap = ReverseMap(stores)
    revmap.record(NEAR, BLOCK, PAGE_BYTES)
    stores.fail_in = 2
    revmap.record(NEAR, BLOCK, PAGE_BYTES)  # unchanged: no store
    revmap.record(FAR, BLOCK, PAGE_BYTES)
    revmap.erase(Entry(BLOCK, PAGE_BYTES, None))
    assert revmap.broken
    assert entries(revmap) == [Entry(BLOCK, PAGE_BYTES, None)]


@pytest.mark.parametrize("seed", range(20))
def test_entries_never_overlap_and_cover_all_that_was_recorded(seed: int) -> None:
    chance = random.Random(seed)
    revmap = ReverseMap(Stores())
    recorded: list[tuple[int, int]] = []
    for _ in range(200):
        size = chance.choice([PAGE_BYTES, PAGE_BYTES, PAGE_BYTES, BLOCK_BYTES])
        first = chance.randrange(4 * BLOCK_BYTES // size) * size
        revmap.record(chance.randrange(8) * BLOCK_BYTES, first, size)
        recorded.append((first, first + size))
    found = entries(revmap)
    assert all(one.end <= other.first for one, other in pairwise(found))
    for first, end in recorded:
        entry = revmap.find(first, end)
        assert entry
        assert entry.first <= first
        assert end <= entry.end


# ---- what the ledger makes of it


def test_only_the_page_goes() -> None:
    guest = mapped(8, revmap="maple")
    guest.run(*range(8))
    guest.take_back(3)
    guest.run(*range(8))
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=1,
        ranged_bytes=PAGE_BYTES,
        shadow_faults=10,
        records_stored=10,
        refaults=1,
    )


def test_an_alias_is_a_full_unmap() -> None:
    guest = mapped(3, revmap="maple")
    guest.map(1, 0)
    guest.run(0, 1, 2)
    guest.take_back(0, 3)
    counts = {"full_unmaps_in_notifier": 1, "fallbacks_unknown_ipa": 1, "shadow_faults": 4}
    counts |= {"records_stored": 3, "records_overlapped": 1}
    guest.counted(notifier_unmaps=1, **counts)
    guest.take_back(0, 3)  # the tree is empty
    guest.counted(notifier_unmaps=2, **counts)


def test_entries_before_an_unknown_one_go_by_range() -> None:
    guest = mapped(4, revmap="maple")
    guest.map(3, 2)
    guest.run(0, 1, 2, 3)
    guest.take_back(0, 4)
    guest.run(0)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=2,
        ranged_bytes=2 * PAGE_BYTES,
        full_unmaps_in_notifier=1,
        fallbacks_unknown_ipa=1,
        shadow_faults=7,
        records_stored=6,
        records_overlapped=1,
        refaults=2,
    )


def test_tlbi_leaves_stale_entries() -> None:
    guest = mapped(1, revmap="maple")
    guest.run(0)
    guest.ledger.tlbi_ipa(1, nested(0))
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=1,
        ranged_unmaps_in_tlbi=1,
        ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=2,
        records_stored=2,
    )


def test_a_tlbi_of_all_empties_the_map_and_mends_it() -> None:
    guest = mapped(2, revmap="maple")
    guest.ledger.stores.fail_in = 2
    guest.run(0)
    assert guest.ledger.counts.broken_mmus == 1
    guest.ledger.tlbi_all()
    assert guest.ledger.counts.broken_mmus == 0
    guest.take_back(0)
    guest.counted(
        notifier_unmaps=1,
        full_unmaps_in_tlbi=1,
        shadow_faults=2,
        records_stored=1,
        records_failed=1,
    )


def test_a_permission_is_no_record() -> None:
    guest = Guest(revmap="maple")
    guest.map(0, 0, writable=False)
    guest.run(0, write=False)
    guest.map(0, 0)
    guest.run(0)
    guest.counted(shadow_faults=3, records_stored=2)


def test_broken_falls_back_once() -> None:
    guest = mapped(3, revmap="maple")
    guest.ledger.stores.fail_in = 2  # code, then page 0
    guest.run(0, 1)
    counts = {"shadow_faults": 3, "records_stored": 1, "records_failed": 1, "records_skipped": 1}
    guest.counted(broken_mmus=1, **counts)
    guest.take_back(2)  # whatever the range
    guest.take_back(2)
    guest.counted(notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1, **counts)


def test_an_entry_that_cannot_be_taken_out_breaks_the_map_and_the_others_still_go() -> None:
    guest = mapped(2, revmap="maple")
    guest.run(0, 1)
    guest.ledger.stores.fail_in = 1
    guest.take_back(0, 2)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=2,
        ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=3,
        records_stored=3,
        broken_mmus=1,
    )


def test_a_block_over_the_stale_entry_of_a_page_is_an_overlap() -> None:
    # A TLBI unmapped the page, and a block is mapped where it was.
    guest = Guest(revmap="maple", huge=True)
    guest.map_block()
    block = dict(guest.pages)
    guest.map(0, 0)
    guest.pages[NESTED_BLOCK] = guest.pages[nested(0)]
    guest.run(0, base=NESTED_BLOCK)
    guest.ledger.tlbi_ipa(1, NESTED_BLOCK)
    guest.pages = block
    guest.run(0, base=NESTED_BLOCK)
    guest.counted(
        shadow_faults=3,
        ranged_unmaps_in_tlbi=1,
        ranged_bytes=PAGE_BYTES,
        records_stored=2,
        records_overlapped=1,
    )


def test_what_l1s_el1_maps_is_recorded_too() -> None:
    guest = mapped(2, revmap="maple")
    guest.run(0)
    guest.run_el1(0, 1)
    guest.take_back(0)  # one entry in each MMU
    guest.run_el1(0, 1)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=2,
        ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=6,
        records_stored=6,
        refaults=1,
    )


def test_a_retried_fault_records_nothing() -> None:
    guest = mapped(1, revmap="maple")
    guest.take_back(0)
    guest.run(0, write=False)
    guest.run(0)
    guest.counted(
        notifier_unmaps=2,
        ranged_unmaps_in_notifier=1,
        ranged_bytes=PAGE_BYTES,
        shadow_faults=4,
        shadow_mapped=3,
        records_stored=3,
        refaults=1,
    )
