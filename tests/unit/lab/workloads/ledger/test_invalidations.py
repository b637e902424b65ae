"""What L1 invalidates by TLBI, and what it fails to invalidate."""

from __future__ import annotations

from tests.unit.lab.workloads.ledger.guest import (
    BLOCK_BYTES,
    PAGE_BYTES,
    Guest,
    mapped,
    nested,
)


def test_l1_without_invalidation_keeps_the_old_mapping() -> None:
    guest = mapped(1)
    guest.run(0)
    guest.pages.pop(nested(0))
    assert guest.run(0) == 1
    guest.ledger.tlbi_ipa(1, nested(0))
    assert guest.run(0) == 0
    guest.counted(
        shadow_faults=2, ranged_unmaps_in_tlbi=1, ranged_bytes=PAGE_BYTES, reflected_aborts=1
    )


def test_tlbi_by_address_takes_one_page_where_the_page_is_known() -> None:
    guest = mapped(3)
    guest.run(0, 1, 2)
    guest.ledger.tlbi_ipa(1, nested(1))
    guest.run(0, 1, 2)
    guest.counted(shadow_faults=5, ranged_unmaps_in_tlbi=1, ranged_bytes=PAGE_BYTES)


def test_tlbi_by_address_takes_a_gigabyte_where_it_is_not() -> None:
    guest = mapped(3)
    guest.run(0, 1, 2)
    guest.ledger.tlbi_ipa(1, nested(7))
    guest.run(0, 1, 2)  # the code page lies in another gigabyte
    guest.counted(shadow_faults=7, ranged_unmaps_in_tlbi=1, ranged_bytes=1 << 30)


def test_tlbi_by_address_takes_l1s_block() -> None:
    guest = Guest()
    for page in range(512):
        guest.map(page, page, level=2)
    guest.map(512, 3)
    guest.run(0, 5, 9, 512)
    guest.ledger.tlbi_ipa(1, nested(5))
    guest.run(0, 5, 9, 512)
    guest.counted(shadow_faults=8, ranged_unmaps_in_tlbi=1, ranged_bytes=BLOCK_BYTES)


def test_tlbis_of_a_whole_context_and_of_all() -> None:
    guest = mapped(1)
    guest.run(0, vmid=1)
    guest.run(0, vmid=2)
    guest.ledger.tlbi_vmid(2)
    guest.counted(shadow_faults=4, full_unmaps_in_tlbi=1)
    guest.ledger.tlbi_all()
    guest.counted(shadow_faults=4, full_unmaps_in_tlbi=3)
    guest.run(0, vmid=1)
    guest.counted(shadow_faults=6, full_unmaps_in_tlbi=3)


def test_what_l1_gives_up_itself_is_no_refault() -> None:
    guest = mapped(4)
    guest.run(*range(4))
    guest.take_back(0)  # owes all 5
    guest.run(0)  # pays back 2
    guest.ledger.tlbi_vmid(1)  # the other 3 are forgotten
    guest.run(*range(4))
    guest.counted(
        notifier_unmaps=1,
        full_unmaps_in_notifier=1,
        full_unmaps_in_tlbi=1,
        shadow_faults=12,
        refaults=2,
    )
