"""What a VM seldom does: a fault that is retried, a stage 2 that is off, a vCPU that comes late."""

from __future__ import annotations

from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.cases.stated import Cases, counts
from nvscope.lab.workloads.synthetic.layout import PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA, expect

CASES = Cases()


@CASES.case(
    # Code, the zero page, page 1; then page 0 twice, the first time in vain. At user_mem_abort that
    # first time is the refault, else the second one is.
    on=counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=1, ranged_bytes=PAGE_BYTES,
        shadow_faults=5, shadow_mapped=4, records_stored=4, refaults=1,
    ),
    # L2's code goes too, and comes back in between.
    off=counts(
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


@CASES.case(
    # L2: code, page 0. L1's EL1, in the other MMU: code, pages 0 and 1. Page 0 goes from both.
    on=counts(
        notifier_unmaps=1, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=7, records_stored=7, refaults=2,
    ),
    # All 5 come back.
    off=counts(notifier_unmaps=1, full_unmaps_in_notifier=2, shadow_faults=10, refaults=5),
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


@CASES.case(
    # Two MMUs have the VMID. What L1 gave up itself is no refault.
    on=counts(full_unmaps_in_tlbi=2, shadow_faults=8, records_stored=8),
    off=counts(full_unmaps_in_tlbi=2, shadow_faults=8),
)  # fmt: skip
def stage2_off_tlbi(player: Player) -> None:
    """L1 invalidates a VMID that L2 and L1's own EL1 both use."""
    player.map(0, 0)
    player.write(0)
    player.write_el1(0)
    player.guest.tlbi_context()
    player.write_el1(0)
    player.write(0)


@CASES.case(
    # Context 0: code and 3 pages; pages 1 and 0 come back. Contexts 1 and 2: code and a page.
    on=counts(
        notifier_unmaps=2, ranged_unmaps_in_notifier=2, ranged_bytes=2 * PAGE_BYTES,
        shadow_faults=10, records_stored=10, refaults=2,
    ),
    # Of the first 4 that go, 2 come back before the vCPU is there, and 2 after that.
    off=counts(notifier_unmaps=2, full_unmaps_in_notifier=2, shadow_faults=16, refaults=8),
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
