"""The ledger's rules, each by a story of which the counts were also seen with ftrace."""

from __future__ import annotations

from nvscope.lab.workloads.ledger import Context, Counts, Ledger
from nvscope.lab.workloads.stage2 import BLOCK_BYTES, PAGE_BYTES, Translation

RAM = 0x4000_0000
DATA = RAM + BLOCK_BYTES
CODE = 0xF_FFFF_F000
NESTED = 0x8000_0000


class Guest:
    """L1's stage 2 as a dictionary, and a ledger that has seen L1 boot."""

    def __init__(self, *, reverse_map: bool = False) -> None:
        self.ledger = Ledger(reverse_map=reverse_map)
        self.ledger.populate(RAM, 2 * BLOCK_BYTES)
        self.ledger.l1_access(RAM)
        self.pages: dict[int, Translation] = {CODE: Translation(RAM, 3, False, True)}

    def map(self, page: int, to: int, *, level: int = 3, writable: bool = True) -> None:
        translation = Translation(DATA + to * PAGE_BYTES, level, writable, False)
        self.pages[NESTED + page * PAGE_BYTES] = translation

    def run(self, *pages: int, write: bool = True, vmid: int = 1) -> int:
        context = Context(vmid << 48 | RAM, self.pages.get, CODE)
        return self.ledger.l2_run(context, [nested(page) for page in pages], write=write)

    def counted(self, **expected: int) -> None:
        assert self.ledger.counts == Counts(canonical_faults=1, **expected)


def nested(page: int) -> int:
    return NESTED + page * PAGE_BYTES


def canonical(page: int) -> int:
    return DATA + page * PAGE_BYTES


def mapped(pages: int, *, reverse_map: bool = False) -> Guest:
    guest = Guest(reverse_map=reverse_map)
    for page in range(pages):
        guest.map(page, page)
    return guest


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
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=11)


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
    guest.counted(notifier_unmaps=2, full_unmaps_in_notifier=1, shadow_faults=5)


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
    assert guest.ledger.counts == Counts(canonical_faults=2)
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.ledger.l1_access(canonical(0), write=False)
    guest.ledger.l1_access(canonical(0), write=True)  # copies: faulted, unmapped, faulted again
    assert guest.ledger.counts == Counts(canonical_faults=5, notifier_unmaps=2)


def test_aborts_go_to_l1() -> None:
    guest = mapped(2)
    assert guest.run(0, 1, 2) == 2
    guest.counted(shadow_faults=3, reflected_aborts=1)


def test_a_write_to_what_l1_maps_read_only() -> None:
    guest = Guest()
    guest.map(0, 0, writable=False)
    assert guest.run(0) == 0  # mapped read-only by the first fault, refused at the second
    guest.counted(shadow_faults=2, reflected_aborts=1)


def test_l1_without_invalidation_keeps_the_old_mapping() -> None:
    guest = mapped(1)
    guest.run(0)
    guest.pages.pop(nested(0))
    assert guest.run(0) == 1
    guest.ledger.tlbi_ipa(1, nested(0))
    assert guest.run(0) == 0
    guest.counted(shadow_faults=2, ranged_unmaps_elsewhere=1, reflected_aborts=1)


def test_tlbi_by_address_takes_one_page_where_the_page_is_known() -> None:
    guest = mapped(3)
    guest.run(0, 1, 2)
    guest.ledger.tlbi_ipa(1, nested(1))
    guest.run(0, 1, 2)
    guest.counted(shadow_faults=5, ranged_unmaps_elsewhere=1)


def test_tlbi_by_address_takes_a_gigabyte_where_it_is_not() -> None:
    guest = mapped(3)
    guest.run(0, 1, 2)
    guest.ledger.tlbi_ipa(1, nested(7))
    guest.run(0, 1, 2)  # the code page lies in another gigabyte
    guest.counted(shadow_faults=7, ranged_unmaps_elsewhere=1)


def test_tlbi_by_address_takes_l1s_block() -> None:
    guest = Guest()
    for page in range(512):
        guest.map(page, page, level=2)
    guest.map(512, 3)
    guest.run(0, 5, 9, 512)
    guest.ledger.tlbi_ipa(1, nested(5))
    guest.run(0, 5, 9, 512)
    guest.counted(shadow_faults=8, ranged_unmaps_elsewhere=1)


def test_tlbis_of_a_whole_context_and_of_all() -> None:
    guest = mapped(1)
    guest.run(0, vmid=1)
    guest.run(0, vmid=2)
    guest.ledger.tlbi_vmid(2)
    guest.counted(shadow_faults=4, full_unmaps_elsewhere=1)
    guest.ledger.tlbi_all()
    guest.counted(shadow_faults=4, full_unmaps_elsewhere=3)
    guest.run(0, vmid=1)
    guest.counted(shadow_faults=6, full_unmaps_elsewhere=3)


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
    guest.counted(shadow_faults=6, full_unmaps_elsewhere=1)
    guest.run(0, vmid=2)  # still there
    guest.counted(shadow_faults=6, full_unmaps_elsewhere=1)
    guest.run(0, vmid=1)  # takes the second one's
    guest.counted(shadow_faults=8, full_unmaps_elsewhere=2)


def test_with_a_reverse_map_only_the_page_goes() -> None:
    guest = mapped(8, reverse_map=True)
    guest.run(*range(8))
    guest.ledger.take_back(canonical(3), PAGE_BYTES)
    guest.run(*range(8))
    guest.counted(notifier_unmaps=1, ranged_unmaps_in_notifier=1, shadow_faults=10)


def test_with_a_reverse_map_an_alias_is_a_full_unmap() -> None:
    guest = Guest(reverse_map=True)
    guest.map(0, 0)
    guest.map(1, 0)
    guest.map(2, 2)
    guest.run(0, 1, 2)
    guest.ledger.take_back(canonical(0), 3 * PAGE_BYTES)
    guest.counted(notifier_unmaps=1, full_unmaps_in_notifier=1, shadow_faults=4)
    guest.ledger.take_back(canonical(0), 3 * PAGE_BYTES)  # the tree is empty
    guest.counted(notifier_unmaps=2, full_unmaps_in_notifier=1, shadow_faults=4)


def test_with_a_reverse_map_tlbi_leaves_stale_entries() -> None:
    guest = mapped(1, reverse_map=True)
    guest.run(0)
    guest.ledger.tlbi_ipa(1, nested(0))
    guest.ledger.take_back(canonical(0), PAGE_BYTES)
    guest.counted(
        notifier_unmaps=1,
        ranged_unmaps_in_notifier=1,
        ranged_unmaps_elsewhere=1,
        shadow_faults=2,
    )
