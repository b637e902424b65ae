"""A reverse map that cannot store: it is broken until all is unmapped."""

from __future__ import annotations

from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.cases.stated import Cases, counts
from nvscope.lab.workloads.synthetic.layout import PAGE_BYTES

CASES = Cases()


@CASES.case(
    # Page 1 is not recorded, page 2 not even tried; after the fallback all is well again.
    on=counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES, shadow_faults=9,
        records_stored=7, records_failed=1, records_skipped=1, refaults=5,
    ),
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=10, refaults=6),
    # Page 2 is tracked all the same.
    tracking=counts(
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


@CASES.case(
    on=counts(
        notifier_unmaps=2, full_unmaps_in_notifier=1, fallbacks_broken=1,
        ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=7, records_stored=6, records_skipped=1, refaults=4,
    ),
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=8, refaults=5),
    # No memory is needed for that: it is the page's next record that fails.
    tracking=counts(
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


@CASES.case(
    on=counts(
        shadow_faults=6, records_stored=3, records_overlapped=1,
        records_failed=1, records_skipped=1, broken_mmus=1,
    ),
    off=counts(shadow_faults=6),
    tracking=counts(shadow_faults=6, records_stored=5, records_failed=1, broken_mmus=1),
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
