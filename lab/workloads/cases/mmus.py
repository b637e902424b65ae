"""Several shadow MMUs, and what L1 itself invalidates."""

from __future__ import annotations

from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.cases.stated import Cases, counts
from nvscope.lab.workloads.synthetic.layout import PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA

CASES = Cases()


@CASES.case(
    # The first take-back hits one MMU, the second both.
    on=counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=3, ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=9, records_stored=9, refaults=3,
    ),
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=4, shadow_faults=12, refaults=6),
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


@CASES.case(
    # Context 2 takes the MMU of context 0, which then takes that of context 1.
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        full_unmaps_in_recycling=2, shadow_faults=9, records_stored=9, refaults=1,
    ),
    off=counts(
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


@CASES.case(
    # The take-back meets an entry whose mapping has gone. The last record finds its like.
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=1, ranged_unmaps_in_tlbi=2,
        ranged_bytes=3 * PAGE_BYTES,
        shadow_faults=4, records_stored=3, records_unchanged=1, refaults=1,
    ),
    off=counts(
        notifier_unmaps=1, full_unmaps_in_notifier=1, ranged_unmaps_in_tlbi=2,
        ranged_bytes=2 * PAGE_BYTES, shadow_faults=5, refaults=2,
    ),
    # The TLBI takes the entry along, so that the take-back meets none.
    tracking=counts(
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
