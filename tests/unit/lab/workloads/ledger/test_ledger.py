"""The ledger's rules, each by a story of which the counts were also seen with ftrace."""

from __future__ import annotations

import pytest

from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.ledger.ledger import Context, Ledger
from nvscope.lab.workloads.vmm.stage2 import MEDIUM, Translation
from tests.unit.lab.workloads.ledger.guest import (
    BLOCK_BYTES,
    CODE,
    DATA,
    NESTED_BLOCK,
    PAGE_BYTES,
    RAM,
    Guest,
    canonical,
    mapped,
    nested,
)


def test_boot_is_one_canonical_fault() -> None:
    Guest().counted()


def test_first_run_faults_code_and_pages() -> None:
    guest = mapped(8)
    assert guest.run(*range(8)) == 8
    guest.counted(shadow_faults=9)
    guest.run(*range(8), write=False)
    guest.counted(shadow_faults=9)


def test_a_notifier_drops_every_shadow_page() -> None:
    guest = mapped(8)
    guest.run(*range(8))
    guest.ledger.take_back(canonical(3), PAGE_BYTES)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=9)
    guest.run(3)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=11, refaults=2)


def test_the_standard_script_in_closed_form() -> None:
    guest, unmaps, pages = mapped(8), 23, 8
    guest.run(*range(pages))
    for turn in range(unmaps):
        guest.ledger.take_back(canonical(turn % pages), PAGE_BYTES)
        guest.run(turn % pages)
    guest.run(*range(pages), write=False)
    guest.counted(
        notifier_unmaps=unmaps,
        full_unmaps_in_notifier=unmaps,
        shadow_faults=1 + pages + 2 * unmaps + pages - 1,
        refaults=2 * unmaps + pages - 1,
    )


def test_no_shadow_unmap_before_l2_has_run() -> None:
    guest = mapped(1)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.counted(notifier_unmaps=1)


def test_one_take_back_is_one_notifier_whatever_its_size() -> None:
    guest = mapped(8)
    guest.run(*range(8))
    guest.ledger.take_back(canonical(0), 8 * PAGE_BYTES)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=9)


def test_write_after_read_of_a_taken_page_is_a_notifier_of_its_own() -> None:
    guest = mapped(1)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.run(0, write=False)  # code, then the zero page read-only
    guest.counted(notifier_unmaps=1, shadow_faults=2)
    # The copy drops the shadow MMU under the fault: it is retried, after L2's code is refetched.
    guest.run(0)
    guest.counted(
        notifier_unmaps=2, full_unmaps_in_notifier=1, shadow_faults=5, shadow_mapped=4, refaults=2
    )


def test_a_fault_that_is_retried_is_no_refault_where_it_maps_nothing() -> None:
    guest = mapped(2)
    guest.take_back(0)
    guest.run(0, write=False)
    guest.run(1)
    guest.run(0)  # retried: pays one of 3; then code and page
    guest.counted(
        notifier_unmaps=2,
        full_unmaps_in_notifier=1,
        shadow_faults=6,
        shadow_mapped=5,
        refaults=3,
        refaults_mapped=2,
    )
    guest.run(1)  # is owed where the retried one was not counted
    assert (guest.ledger.counts.refaults, guest.ledger.counts.refaults_mapped) == (3, 3)


def test_host_write_to_the_zero_page_is_a_notifier() -> None:
    guest = mapped(1)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.ledger.host_write(canonical(0))  # absent: no notifier
    guest.counted(notifier_unmaps=1)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.ledger.host_read(canonical(0))
    guest.ledger.host_write(canonical(0))
    guest.counted(notifier_unmaps=3)


def test_l1_faults_through_the_canonical_stage_2() -> None:
    guest = mapped(1)
    guest.ledger.l1_access(canonical(0), write=False)
    guest.ledger.l1_access(canonical(0), write=True)  # was mapped writable: populated memory
    assert guest.ledger.counts == Counts(canonical_faults=2, canonical_mapped=2)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.ledger.l1_access(canonical(0), write=False)
    guest.ledger.l1_access(canonical(0), write=True)  # copies: faulted, unmapped, faulted again
    expected = Counts(canonical_faults=5, canonical_mapped=4, notifier_unmaps=2)
    assert guest.ledger.counts == expected


def test_aborts_go_to_l1() -> None:
    guest = mapped(2)
    assert guest.run(0, 1, 2) == 2
    guest.counted(shadow_faults=3, reflected_aborts=1)


def test_a_write_to_what_l1_maps_read_only() -> None:
    guest = Guest()
    guest.map(0, 0, writable=False)
    assert guest.run(0) == 0  # mapped read-only by the first fault, refused at the second
    guest.counted(shadow_faults=2, reflected_aborts=1)


def test_a_notifier_unmaps_each_valid_mmu() -> None:
    guest = mapped(1)
    guest.run(0, vmid=1)
    guest.run(0, vmid=2)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=2, shadow_faults=4)


def test_a_third_context_recycles_the_mmus_in_turn() -> None:
    guest = mapped(1)
    for vmid in (1, 2, 1, 2):
        guest.run(0, vmid=vmid)
    guest.counted(shadow_faults=4)
    guest.run(0, vmid=3)  # takes the first one's
    guest.counted(shadow_faults=6, full_unmaps_in_recycling=1)
    guest.run(0, vmid=2)  # still there
    guest.counted(shadow_faults=6, full_unmaps_in_recycling=1)
    guest.run(0, vmid=1)  # takes the second one's
    guest.counted(shadow_faults=8, full_unmaps_in_recycling=2)


def test_a_fault_with_a_notifier_in_it_ends_after_that() -> None:
    guest = mapped(1)
    guest.take_back(0)
    guest.run(0, write=False)  # the zero page
    guest.run(0)  # copied within the fault: that itself is then the first refault
    assert guest.ledger.counts.refaults == 2


def test_refaults_are_an_mmus_own() -> None:
    guest = mapped(1)
    guest.run(0, vmid=1)
    guest.take_back(0)
    guest.run(0, vmid=2)
    assert guest.ledger.counts.refaults == 0
    guest.run(0, vmid=1)
    assert guest.ledger.counts.refaults == 2


def test_a_huge_page_is_one_fault_where_l1_has_a_block() -> None:
    guest = Guest(huge=True)
    guest.map_block()
    guest.map(0, 0)
    guest.run(0, base=NESTED_BLOCK)
    guest.run(100, 511, base=NESTED_BLOCK)
    guest.counted(shadow_faults=2)
    guest.run(0)  # L1's page of it is a page
    guest.counted(shadow_faults=3)
    guest.ledger.l1_access(DATA, write=True)
    guest.ledger.l1_access(DATA + BLOCK_BYTES - 8, write=True)
    assert guest.ledger.counts.canonical_faults == 2


def test_small_pages_behind_a_block_of_l1_are_mapped_as_pages() -> None:
    guest = Guest()
    guest.map_block()
    guest.run(0, 1, 2, base=NESTED_BLOCK)
    guest.counted(shadow_faults=4)


def test_no_take_back_splits_a_huge_page() -> None:
    guest = Guest(huge=True)
    with pytest.raises(ValueError, match="split a huge page"):
        guest.take_back(0)


# ---- a vCPU more


def test_two_mmus_more_for_a_vcpu_that_comes_late() -> None:
    guest = mapped(1)
    guest.run(0)
    guest.take_back(0)
    guest.ledger.add_vcpu()
    guest.run(0)  # what is owed stays owed
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=4, refaults=2)
    for vmid in (2, 3, 4):
        guest.run(0, vmid=vmid)
    assert guest.ledger.counts.full_unmaps_in_recycling == 0
    guest.run(0, vmid=5)
    assert guest.ledger.counts.full_unmaps_in_recycling == 1


# ---- 16 KiB pages


def test_pages_of_16_kib() -> None:
    size = MEDIUM.page_bytes
    data = RAM + MEDIUM.block_bytes
    pages = {nested(0) + at * size: data + at * size for at in range(3)} | {CODE & -size: RAM}

    def walk(nested_ipa: int) -> Translation | None:
        return Translation(pages[nested_ipa], 3, writable=True, executable=True)

    ledger = Ledger(granule=MEDIUM)
    ledger.populate(RAM, 2 * MEDIUM.block_bytes)
    context = Context(1 << 48 | RAM, walk, CODE & -size)
    ledger.l2_run(context, [nested(0), nested(0) + size, nested(0) + 2 * size], write=True)
    ledger.l2_run(context, [nested(0) + size // 2], write=True)  # in a page that is mapped
    ledger.tlbi_ipa(1, nested(0))
    ledger.tlbi_ipa(1, nested(0) + 5 * size)  # no hint: 32 MiB, in which L2's code is not
    ledger.l2_run(context, [nested(0)], write=True)
    ledger.take_back(data, size)
    assert ledger.counts == Counts(
        notifier_unmaps=1,
        full_unmaps_in_notifier=1,
        shadow_faults=5,
        shadow_mapped=5,
        ranged_unmaps_in_tlbi=2,
        ranged_bytes=size + MEDIUM.block_bytes,
    )
