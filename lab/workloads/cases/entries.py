"""One shadow MMU: what its entries know of a page, and what a take-back then unmaps."""

from __future__ import annotations

from nvscope.lab.workloads.cases.player import BLOCK_IPA, Player
from nvscope.lab.workloads.cases.stated import Cases, counts
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, BLOCK_PAGES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA, expect

CASES = Cases()


@CASES.case(
    # The one page comes back alone.
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=6, records_stored=6, refaults=1,
    ),
    # All 5 come back.
    off=counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=10, refaults=5),
)  # fmt: skip
def plain_ranged(player: Player) -> None:
    """One page of four is taken back."""
    for page in range(4):
        player.map(page, page)
    player.write(0, 1, 2, 3)
    player.take_back(1)
    player.write(1, 0, 2, 3)


@CASES.case(
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=3, records_stored=3, refaults=1,
    ),
    off=counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=4, refaults=2),
)  # fmt: skip
def nested_ipa_0(player: Player) -> None:
    """A mapping whose nested IPA is 0 is an entry like any other."""
    player.guest.map(0, DATA_IPA, PAGE_BYTES)
    player.write(0, base=0)
    player.take_back(0)
    player.write(0, base=0)


@CASES.case(
    # 3 records: code, the page read-only, the page again. None for the permission.
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=4, records_stored=3, refaults=1,
    ),
    off=counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=5, refaults=2),
)  # fmt: skip
def permission_upgrade(player: Player) -> None:
    """L1 makes a page writable that L2 has read."""
    player.map(0, 0, writable=False)
    expect("a page never written", player.guest.l2_read(NESTED_IPA).value, 0)
    player.map(0, 0)
    player.write(0)
    player.take_back(0)
    player.write(0)


@CASES.case(
    # The fallback clears the map: the two that follow are ranged.
    on=counts(
        notifier_unmaps=3, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=9, records_stored=8, records_overlapped=1, refaults=5,
    ),
    off=counts(notifier_unmaps=3, full_unmaps_in_notifier=3, shadow_faults=10, refaults=6),
    # Both nested IPAs go, and nothing else.
    tracking=counts(
        notifier_unmaps=3, ranged_unmaps_in_notifier=4, ranged_bytes=4 * PAGE_BYTES,
        shadow_faults=7, records_stored=7, refaults=3,
    ),
)  # fmt: skip
def pollution(player: Player) -> None:
    """Two nested IPAs for one canonical page: its entry no longer knows them."""
    for nested, canonical in ((0, 0), (1, 0), (2, 1)):
        player.map(nested, canonical)
    player.write(0, 1, 2)
    player.take_back(0)
    player.write(0, 2)
    player.take_back(1)
    player.take_back(0)
    player.write(0, 2)


@CASES.case(
    # Code, 2 pages, the block (overlaps both); code and block; block.
    on=counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=BLOCK_BYTES,
        shadow_faults=7, records_stored=6, records_overlapped=1, refaults=3,
    ),
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=4),
    # Code, 2 pages, the block; block; block. What is not written again does not come back.
    tracking=counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=4,
        ranged_bytes=2 * PAGE_BYTES + 2 * BLOCK_BYTES,
        shadow_faults=6, records_stored=6, refaults=2,
    ),
    huge=True,
)  # fmt: skip
def block_over_pages(player: Player) -> None:
    """A 2 MiB block is mapped over pages that are mapped elsewhere already."""
    for page in range(4):
        player.map(page, page)
    player.guest.map(BLOCK_IPA, DATA_IPA, BLOCK_BYTES)
    player.write(0, 1)
    player.write(100, base=BLOCK_IPA)
    player.take_back(0, BLOCK_PAGES)
    player.write(7, base=BLOCK_IPA)
    player.take_back(0, BLOCK_PAGES)
    player.write(8, base=BLOCK_IPA)


@CASES.case(
    # Code, the block, a page (overlaps), a page (in what is unknown already); code, page; page.
    on=counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=7, records_stored=5, records_overlapped=1, records_unchanged=1, refaults=3,
    ),
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=4),
    # Code, the block, 2 pages; page; page.
    tracking=counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=4,
        ranged_bytes=BLOCK_BYTES + 3 * PAGE_BYTES,
        shadow_faults=6, records_stored=6, refaults=2,
    ),
    huge=True,
)  # fmt: skip
def pages_over_block(player: Player) -> None:
    """Pages are mapped that a 2 MiB block maps elsewhere already."""
    player.guest.map(BLOCK_IPA, DATA_IPA, BLOCK_BYTES)
    for page in range(4):
        player.map(page, page)
    player.write(100, base=BLOCK_IPA)
    player.write(0, 1)
    player.take_back(0, BLOCK_PAGES)
    player.write(0)
    player.take_back(0, BLOCK_PAGES)
    player.write(0)


@CASES.case(
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=3, ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=12, records_stored=12, refaults=3,
    ),
    off=counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=18, refaults=9),
)  # fmt: skip
def several_entries(player: Player) -> None:
    """One take-back hits three entries, whose nested IPAs run the other way."""
    for page in range(8):
        player.map(page, 7 - page)
    player.write(*range(8))
    player.take_back(2, 3)
    player.write(*range(8))


@CASES.case(
    # L1's write and its read after the take-back are the 2 canonical faults more.
    on=counts(notifier_unmaps=2, canonical_faults=3, shadow_faults=2, records_stored=2),
    off=counts(
        notifier_unmaps=2, full_unmaps_in_notifier=2,
        canonical_faults=3, shadow_faults=4, refaults=2,
    ),
)  # fmt: skip
def no_entry(player: Player) -> None:
    """What L2 never touched is taken back: no business of its shadow MMU."""
    player.map(0, 0)
    player.write(0)
    player.guest.l1_write(DATA_IPA + 5 * PAGE_BYTES, 55)
    player.take_back(5)
    player.take_back(6)
    expect("data of L1", player.guest.l1_read(DATA_IPA + 5 * PAGE_BYTES).value, 0)
    player.write(0)
