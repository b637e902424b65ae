"""The model of tracking, rule by rule, and what each makes the ledger count."""

from __future__ import annotations

import random

import pytest

from nvscope.lab.workloads.ledger.revmap import Entry, Record, Stores
from nvscope.lab.workloads.ledger.tracking import MAX_REPLACED, Tracking
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
END = 1 << 48


def taken(tracking: Tracking, start: int = 0, end: int = END) -> list[Entry]:
    """What a notifier of [start, end) unmaps, in order. Whole spaces are slow: 512 GiB will do."""
    found = []
    for entry in tracking.intersecting(start, min(end, 1 << 39)):
        found.append(entry)
        tracking.erase(entry)
    return found


def test_all_nested_ipas_of_a_page_are_known() -> None:
    tracking = Tracking(Stores())
    for ipa in (NEAR, FAR, 0):
        assert tracking.record(ipa, BLOCK, PAGE_BYTES) is Record.STORED
    assert tracking.record(FAR, BLOCK, PAGE_BYTES) is Record.UNCHANGED
    assert {entry.nested for entry in taken(tracking, BLOCK, BLOCK + 1)} == {NEAR, FAR, 0}
    assert taken(tracking) == []


def test_a_block_and_a_page_of_it_go_for_what_is_in_both() -> None:
    page, block = Entry(BLOCK + 7 * PAGE_BYTES, PAGE_BYTES, FAR), Entry(BLOCK, BLOCK_BYTES, NEAR)

    def both() -> Tracking:
        tracking = Tracking(Stores())
        tracking.record(FAR, page.first, page.size)
        tracking.record(NEAR, block.first, block.size)
        return tracking

    assert taken(both(), page.first, page.end) == [block, page]
    assert taken(both(), BLOCK, BLOCK + PAGE_BYTES) == [block]
    assert taken(both(), BLOCK + BLOCK_BYTES) == []


def test_part_of_a_block_is_all_of_it() -> None:
    tracking = Tracking(Stores())
    tracking.record(NEAR, BLOCK, BLOCK_BYTES)
    tracking.record(NEAR + BLOCK_BYTES, BLOCK, PAGE_BYTES)
    tracking.unmapped(NEAR + PAGE_BYTES, PAGE_BYTES)
    assert taken(tracking) == [Entry(BLOCK, PAGE_BYTES, NEAR + BLOCK_BYTES)]


def test_what_is_replaced_stays_until_it_is_unmapped() -> None:
    tracking = Tracking(Stores())
    for page in range(2):
        tracking.record(NEAR, BLOCK + page * PAGE_BYTES, PAGE_BYTES)
    # The unmap for one takes the other along.
    assert len(taken(tracking, BLOCK + PAGE_BYTES, BLOCK + 2 * PAGE_BYTES)) == 1
    assert taken(tracking) == []


def test_no_more_than_so_many_pile_up_at_a_nested_ipa() -> None:
    tracking = Tracking(Stores())
    outcomes = [
        tracking.record(NEAR, BLOCK + page * PAGE_BYTES, PAGE_BYTES)
        for page in range(MAX_REPLACED + 1)
    ]
    assert outcomes == [Record.STORED] * MAX_REPLACED + [Record.FAILED]
    assert tracking.broken
    # Pages that a block replaces are beside each other, however many.
    tracking.reset()
    for page in range(100):
        tracking.record(NEAR + page * PAGE_BYTES, BLOCK + page * PAGE_BYTES, PAGE_BYTES)
    assert tracking.record(NEAR, BLOCK, BLOCK_BYTES) is Record.STORED


def test_a_failure_is_remembered_and_tracking_goes_on() -> None:
    stores = Stores()
    tracking = Tracking(stores)
    stores.fail_in = 1
    assert tracking.record(NEAR, BLOCK, PAGE_BYTES) is Record.FAILED
    assert tracking.record(FAR, BLOCK, PAGE_BYTES) is Record.STORED
    assert tracking.broken
    tracking.reset()
    assert not tracking.broken
    assert taken(tracking) == []


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_list_of_all_mappings_would_be(seed: int) -> None:
    chance = random.Random(seed)
    tracking, known = Tracking(Stores()), set[Entry]()
    for _ in range(300):
        size = chance.choice([PAGE_BYTES, PAGE_BYTES, PAGE_BYTES, BLOCK_BYTES])
        at, first = (chance.randrange(4 * BLOCK_BYTES // size) * size for _ in range(2))
        if chance.random() < 0.7:
            if tracking.record(at, first, size) is Record.STORED:
                known.add(Entry(first, size, at))
        elif chance.random() < 0.5:
            tracking.unmapped(at, size)
            known = {e for e in known if not meets(at_of(e), e.size, at, size)}
        else:
            for entry in taken(tracking, first, first + size):
                assert entry in known
                known = {e for e in known if not meets(at_of(e), e.size, at_of(entry), entry.size)}
            assert not any(meets(e.first, e.size, first, size) for e in known)
    assert set(taken(tracking)) <= known


def at_of(entry: Entry) -> int:
    assert entry.nested is not None
    return entry.nested


def meets(one: int, one_size: int, other: int, other_size: int) -> bool:
    return one < other + other_size and other < one + one_size


# ---- what the ledger makes of it


def test_an_alias_is_two_ranged_unmaps() -> None:
    guest = mapped(3, revmap="tracking")
    guest.map(1, 0)
    guest.run(0, 1, 2)
    guest.take_back(0)
    guest.run(2)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=2,
        ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=4,
        records_stored=4,
    )


def test_a_tlbi_takes_the_entry_along() -> None:
    guest = mapped(2, revmap="tracking")
    guest.run(0, 1)
    guest.ledger.tlbi_ipa(1, nested(0))
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    counts = {"ranged_unmaps_in_tlbi": 1, "shadow_faults": 3, "records_stored": 3}
    guest.counted(notifier_unmaps=1, ranged_bytes=PAGE_BYTES, **counts)
    guest.take_back(1)  # the neighbour is still there
    counts["ranged_unmaps_in_notifier"] = 1
    guest.counted(notifier_unmaps=2, ranged_bytes=2 * PAGE_BYTES, **counts)


def test_a_tlbi_is_of_one_mmu() -> None:
    guest = mapped(1, revmap="tracking")
    guest.run(0)
    guest.run_el1(0)
    guest.ledger.tlbi_all()
    guest.run(0)
    guest.take_back(0)  # in the one that was used again
    guest.counted(
        notifier_unmaps=1,
        full_unmaps_in_tlbi=2,
        ranged_unmaps_in_notifier=1,
        ranged_bytes=PAGE_BYTES,
        shadow_faults=6,
        records_stored=6,
    )


def test_a_block_and_its_pages_go_together() -> None:
    guest = Guest(revmap="tracking", huge=True)
    guest.map_block()
    guest.map(0, 0)
    guest.run(0)
    guest.run(0, base=NESTED_BLOCK)
    guest.take_back(0, BLOCK_BYTES // PAGE_BYTES)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=2,
        ranged_bytes=PAGE_BYTES + BLOCK_BYTES,
        shadow_faults=3,
        records_stored=3,
    )


def test_what_is_lost_makes_the_next_notifier_unmap_all() -> None:
    guest = mapped(3, revmap="tracking")
    guest.ledger.stores.fail_in = 2  # code, then page 0
    guest.run(0, 1)
    counts = {"shadow_faults": 3, "records_stored": 2, "records_failed": 1}
    guest.counted(broken_mmus=1, **counts)
    guest.take_back(2)  # whatever the range
    guest.take_back(2)
    guest.counted(notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1, **counts)
