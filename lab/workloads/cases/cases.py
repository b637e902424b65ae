"""What a reverse map can meet, case by case, each with the counts that it must cause.

The counts are written by hand, from what the kernel's patches and mainline say they do, and are
held against the ledger's when a case runs: on with the reverse map that is a maple tree, tracking
with the other kind where that differs, off without one. What is not named is 0, but for the
*_mapped ones: these are as many as the faults, unless the case says otherwise. All begin with L1's
first instruction (1 canonical fault), and the first L2 run of a context or after a full unmap
faults in L2's code, besides its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nvscope.lab.workloads.cases.player import BLOCK_IPA, Player
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, BLOCK_PAGES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA, expect


@dataclass(frozen=True)
class Case:
    """play: the case; on, off, tracking: its counts; huge: needs huge pages.

    injects: makes stores fail; late_vcpu: as NestedGuest's.
    """

    play: Callable[[Player], None]
    on: Mapping[str, int]
    off: Mapping[str, int]
    tracking: Mapping[str, int]
    huge: bool = False
    injects: bool = False
    late_vcpu: bool = False

    def stated(self, revmap: str) -> Mapping[str, int]:
        """The counts with this kind of reverse map: "none" | "maple" | "tracking"."""
        return {"none": self.off, "maple": self.on, "tracking": self.tracking}[revmap]


CASES: dict[str, Case] = {}


# Counts at user_mem_abort -> those of the faults among them that mapped something.
_MAPPED = {
    "canonical_faults": "canonical_mapped",
    "shadow_faults": "shadow_mapped",
    "refaults": "refaults_mapped",
}


def case(
    *,
    on: Mapping[str, int],
    off: Mapping[str, int],
    tracking: Mapping[str, int] | None = None,
    **needs: bool,
) -> Callable[[Callable[[Player], None]], Callable[[Player], None]]:
    """Enter a function into CASES, by its name with dashes. needs: Case's fields of that kind.

    tracking: None where the counts are those of on.
    """
    tracked = on if tracking is None else tracking

    def enter(play: Callable[[Player], None]) -> Callable[[Player], None]:
        name = play.__name__.replace("_", "-")
        CASES[name] = Case(play, _whole(on), _whole(off), _whole(tracked), **needs)
        return play

    return enter


def _whole(counts: Mapping[str, int]) -> dict[str, int]:
    """Add what goes without saying: see above."""
    stated = {"canonical_faults": 1, **counts}
    mapped = {_MAPPED[name]: count for name, count in stated.items() if name in _MAPPED}
    return mapped | stated


def _counts(**counts: int) -> dict[str, int]:
    return counts


@case(
    # The one page comes back alone.
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=6, records_stored=6, refaults=1,
    ),
    # All 5 come back.
    off=_counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=10, refaults=5),
)  # fmt: skip
def plain_ranged(player: Player) -> None:
    """One page of four is taken back."""
    for page in range(4):
        player.map(page, page)
    player.write(0, 1, 2, 3)
    player.take_back(1)
    player.write(1, 0, 2, 3)


@case(
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=3, records_stored=3, refaults=1,
    ),
    off=_counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=4, refaults=2),
)  # fmt: skip
def nested_ipa_0(player: Player) -> None:
    """A mapping whose nested IPA is 0 is an entry like any other."""
    player.guest.map(0, DATA_IPA, PAGE_BYTES)
    player.write(0, base=0)
    player.take_back(0)
    player.write(0, base=0)


@case(
    # 3 records: code, the page read-only, the page again. None for the permission.
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=4, records_stored=3, refaults=1,
    ),
    off=_counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=5, refaults=2),
)  # fmt: skip
def permission_upgrade(player: Player) -> None:
    """L1 makes a page writable that L2 has read."""
    player.map(0, 0, writable=False)
    expect("a page never written", player.guest.l2_read(NESTED_IPA).value, 0)
    player.map(0, 0)
    player.write(0)
    player.take_back(0)
    player.write(0)


@case(
    # The fallback clears the map: the two that follow are ranged.
    on=_counts(
        notifier_unmaps=3, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=9, records_stored=8, records_overlapped=1, refaults=5,
    ),
    off=_counts(notifier_unmaps=3, full_unmaps_in_notifier=3, shadow_faults=10, refaults=6),
    # Both nested IPAs go, and nothing else.
    tracking=_counts(
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


@case(
    # Code, 2 pages, the block (overlaps both); code and block; block.
    on=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=BLOCK_BYTES,
        shadow_faults=7, records_stored=6, records_overlapped=1, refaults=3,
    ),
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=4),
    # Code, 2 pages, the block; block; block. What is not written again does not come back.
    tracking=_counts(
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


@case(
    # Code, the block, a page (overlaps), a page (in what is unknown already); code, page; page.
    on=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_unknown_ipa=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=7, records_stored=5, records_overlapped=1, records_unchanged=1, refaults=3,
    ),
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=4),
    # Code, the block, 2 pages; page; page.
    tracking=_counts(
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


@case(
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=3, ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=12, records_stored=12, refaults=3,
    ),
    off=_counts(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=18, refaults=9),
)  # fmt: skip
def several_entries(player: Player) -> None:
    """One take-back hits three entries, whose nested IPAs run the other way."""
    for page in range(8):
        player.map(page, 7 - page)
    player.write(*range(8))
    player.take_back(2, 3)
    player.write(*range(8))


@case(
    # L1's write and its read after the take-back are the 2 canonical faults more.
    on=_counts(notifier_unmaps=2, canonical_faults=3, shadow_faults=2, records_stored=2),
    off=_counts(
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


@case(
    # The first take-back hits one MMU, the second both.
    on=_counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=3, ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=9, records_stored=9, refaults=3,
    ),
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=4, shadow_faults=12, refaults=6),
)  # fmt: skip
def two_mmus(player: Player) -> None:
    """Two contexts map different pages at the same nested IPAs, one page in common."""
    for context, first in ((0, 0), (1, 1)):
        player.map(0, first, context)
        player.map(1, first + 1, context)
    player.write(0, 1)
    player.guest.switch(1)
    player.write(0, 1)
    player.take_back(0)
    player.take_back(1)
    player.guest.switch(0)
    player.write(0, 1)
    player.guest.switch(1)
    player.write(0, 1)


@case(
    # Context 2 takes the MMU of context 0, which then takes that of context 1.
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        full_unmaps_in_recycling=2, shadow_faults=9, records_stored=9, refaults=1,
    ),
    off=_counts(
        notifier_unmaps=1, full_unmaps_in_notifier=2,
        full_unmaps_in_recycling=2, shadow_faults=10, refaults=2,
    ),
)  # fmt: skip
def recycling(player: Player) -> None:
    """Three contexts on two shadow MMUs."""
    for context in range(3):
        player.map(0, 0, context)
        player.guest.switch(context)
        player.write(0)
    player.take_back(0)
    for context in (0, 2):
        player.guest.switch(context)
        player.write(0)


@case(
    # The take-back meets an entry whose mapping has gone. The last record finds its like.
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_unmaps_in_tlbi=2,
        ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=4, records_stored=3, records_unchanged=1, refaults=1,
    ),
    off=_counts(
        notifier_unmaps=1, full_unmaps_in_notifier=1, ranged_unmaps_in_tlbi=2,
        ranged_bytes=2 * PAGE_BYTES, shadow_faults=5, refaults=2,
    ),
    # The TLBI takes the entry along, so that the take-back meets none.
    tracking=_counts(
        notifier_unmaps=1, ranged_unmaps_in_tlbi=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=4, records_stored=4,
    ),
)  # fmt: skip
def stale_entry(player: Player) -> None:
    """A TLBI by L1 unmaps a page; its entry stays, unless it is tracked."""
    player.map(0, 0)
    player.write(0)
    player.guest.tlbi_page(NESTED_IPA)
    player.take_back(0)
    player.write(0)
    player.guest.tlbi_page(NESTED_IPA)
    player.write(0)


@case(
    # Page 1 is not recorded, page 2 not even tried; after the fallback all is well again.
    on=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES, shadow_faults=9,
        records_stored=7, records_failed=1, records_skipped=1, refaults=5,
    ),
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=10, refaults=6),
    # Page 2 is tracked all the same.
    tracking=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES, shadow_faults=9,
        records_stored=8, records_failed=1, refaults=5,
    ),
    injects=True,
)  # fmt: skip
def broken_at_record(player: Player) -> None:
    """No memory to record a mapping."""
    for page in range(4):
        player.map(page, page)
    player.write(0)
    player.fail_in(1)
    player.write(1, 2)
    player.take_back(0)
    player.write(0, 1, 2)
    player.take_back(1)
    player.write(1)


@case(
    on=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=7, records_stored=6, records_skipped=1, refaults=4,
    ),
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=5),
    # No memory is needed for that: it is the page's next record that fails.
    tracking=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=7, records_stored=6, records_failed=1, refaults=4,
    ),
    injects=True,
)  # fmt: skip
def broken_at_erase(player: Player) -> None:
    """No memory to take out the entry of what was unmapped."""
    for page in range(2):
        player.map(page, page)
    player.write(0, 1)
    player.fail_in(1)
    player.take_back(0)
    player.write(0)
    player.take_back(1)
    player.write(0, 1)


@case(
    on=_counts(
        shadow_faults=6, records_stored=3, records_overlapped=1,
        records_failed=1, records_skipped=1, broken_mmus=1,
    ),
    off=_counts(shadow_faults=6),
    tracking=_counts(shadow_faults=6, records_stored=5, records_failed=1, broken_mmus=1),
    injects=True,
)  # fmt: skip
def teardown(player: Player) -> None:
    """The VM ends with entries, an unknown one among them, in one MMU, and another broken."""
    for nested, canonical in ((0, 0), (1, 0), (2, 1)):
        player.map(nested, canonical)
    player.map(0, 3, context=1)
    player.write(0, 1, 2)
    player.guest.switch(1)
    player.fail_in(1)
    player.write(0)


@case(
    # Code, the zero page, page 1; then page 0 twice, the first time in vain. At user_mem_abort that
    # first time is the refault, else the second one is.
    on=_counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=5, shadow_mapped=4, records_stored=4, refaults=1,
    ),
    # L2's code goes too, and comes back in between.
    off=_counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1,
        shadow_faults=6, shadow_mapped=5, refaults=3, refaults_mapped=2,
    ),
)  # fmt: skip
def retried_fault(player: Player) -> None:
    """L2 writes to the zero page: its copy is a notifier within the fault, which KVM retries."""
    player.map(0, 0)
    player.map(1, 1)
    player.take_back(0)
    expect("a page that was taken", player.guest.l2_read(NESTED_IPA).value, 0)
    player.write(1)
    player.write(0)


@case(
    # L2: code, page 0. L1's EL1, in the other MMU: code, pages 0 and 1. Page 0 goes from both.
    on=_counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=7, records_stored=7, refaults=2,
    ),
    # All 5 come back.
    off=_counts(notifier_unmaps=1, full_unmaps_in_notifier=2, shadow_faults=10, refaults=5),
)  # fmt: skip
def stage2_off(player: Player) -> None:
    """L1 runs its own EL1 with its stage 2 off, besides L2: a shadow MMU that maps 1:1."""
    player.map(0, 0)
    player.write(0)
    player.write_el1(0, 1)
    player.take_back(0)
    player.write_el1(0)
    player.write(0)
    player.write_el1(1)


@case(
    # Two MMUs have the VMID. What L1 gave up itself is no refault.
    on=_counts(full_unmaps_in_tlbi=2, shadow_faults=8, records_stored=8),
    off=_counts(full_unmaps_in_tlbi=2, shadow_faults=8),
)  # fmt: skip
def stage2_off_tlbi(player: Player) -> None:
    """L1 invalidates a VMID that L2 and L1's own EL1 both use."""
    player.map(0, 0)
    player.write(0)
    player.write_el1(0)
    player.guest.tlbi_context()
    player.write_el1(0)
    player.write(0)


@case(
    # Context 0: code and 3 pages; pages 1 and 0 come back. Contexts 1 and 2: code and a page.
    on=_counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=10, records_stored=10, refaults=2,
    ),
    # Of the first 4 that go, 2 come back before the vCPU is there, and 2 after that.
    off=_counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=16, refaults=8),
    late_vcpu=True,
)  # fmt: skip
def late_vcpu(player: Player) -> None:
    """A vCPU is initialised while a shadow MMU maps pages and has lost others: two MMUs more.

    Three contexts then find an MMU each, and none is recycled.
    """
    for page in range(3):
        player.map(page, page)
    player.write(0, 1, 2)
    player.take_back(1)
    player.write(1)
    player.guest.initialise_late_vcpu()
    player.write(0, 2)
    player.take_back(0)
    for context in (1, 2):
        player.map(0, 0, context)
        player.guest.switch(context)
        player.write(0)
    player.guest.switch(0)
    player.write(0, 1, 2)
