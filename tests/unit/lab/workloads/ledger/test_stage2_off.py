"""L1's own EL1, with its stage 2 off."""

from __future__ import annotations

from tests.unit.lab.workloads.ledger.guest import (
    DATA,
    RAM,
    Guest,
    canonical,
    mapped,
)


def test_l1s_el1_has_a_shadow_mmu_of_its_own() -> None:
    guest = mapped(1)
    guest.run(0)
    assert guest.run_el1(0, 1) == 2  # code, both pages
    guest.counted(shadow_faults=5)
    guest.run(0)
    guest.run_el1(0, 1)
    guest.counted(shadow_faults=5)
    guest.take_back(0)
    guest.run_el1(0)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=2, shadow_faults=7, refaults=2)


def test_with_stage_2_off_the_vmid_alone_tells() -> None:
    guest = mapped(1)
    guest.run_el1(0, vttbr=1 << 48 | RAM)
    guest.run_el1(0, vttbr=1 << 48 | DATA)
    guest.counted(shadow_faults=2)
    guest.run_el1(0, vttbr=2 << 48 | RAM)
    guest.counted(shadow_faults=4)


def test_a_tlbi_of_a_vmid_hits_the_mmu_with_stage_2_off() -> None:
    guest = mapped(1)
    guest.run(0)
    guest.run_el1(0)
    guest.ledger.tlbi_vmid(1)
    guest.counted(shadow_faults=4, full_unmaps_in_tlbi=2)
    guest.ledger.tlbi_all()
    guest.counted(shadow_faults=4, full_unmaps_in_tlbi=4)


def test_a_tlbi_by_address_finds_no_level_where_stage_2_is_off() -> None:
    guest = mapped(1)
    guest.run_el1(0, 1)
    guest.ledger.tlbi_ipa(1, canonical(0))
    guest.run_el1(0, 1)
    guest.counted(shadow_faults=6, ranged_unmaps_in_tlbi=1, ranged_bytes=1 << 30)


def test_l1s_el1_gets_the_hosts_huge_pages() -> None:
    guest = Guest(huge=True)
    guest.run_el1(0, 1, 511)
    guest.counted(shadow_faults=2)


def test_mmus_for_stage_2_on_and_off_recycle_each_other() -> None:
    guest = mapped(1)
    guest.run(0)
    guest.run_el1(0)
    guest.run(0, vmid=2)  # takes the first one's
    guest.run_el1(0)
    guest.counted(shadow_faults=6, full_unmaps_in_recycling=1)
