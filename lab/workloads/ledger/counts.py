"""The counts that the ledger keeps, by the names under which they are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nvscope.lab.workloads.ledger.revmap import Record
from nvscope.lab.workloads.ledger.shadow import Cause, Unmap


@dataclass
class Counts:
    """What must have happened since the VM was made.

    notifier_unmaps: calls of kvm_unmap_gfn_range. canonical_faults, shadow_faults: calls of
    user_mem_abort that returned >= 0, with the canonical and with a shadow MMU in use.
    canonical_mapped, shadow_mapped: those of them in which kvm_pgtable_stage2_map or
    kvm_pgtable_stage2_relax_perms ran; no fault calls both. The others are retried, for a notifier
    came in between. reflected_aborts: L2's stage-2 aborts given to L1; no call of any of the above.

    full_* and ranged_*: calls of kvm_stage2_unmap_range on shadow MMUs, by what they were made in.
    ranged_bytes: the sum of the ranged ones' sizes.

    With a reverse map, else 0: fallbacks_*: full unmaps in a notifier, by reason. records_*: what
    kvm_nested_revmap_record returned, skipped being KVM_REVMAP_WAS_BROKEN. broken_mmus: shadow
    MMUs whose reverse map is broken now.

    refaults: shadow faults that bring back what notifier unmaps took, see shadow.Refaults.
    refaults_mapped: the same where only the faults of shadow_mapped are looked at.
    """

    notifier_unmaps: int = 0
    canonical_faults: int = 0
    shadow_faults: int = 0
    canonical_mapped: int = 0
    shadow_mapped: int = 0
    reflected_aborts: int = 0
    full_unmaps_in_notifier: int = 0
    ranged_unmaps_in_notifier: int = 0
    full_unmaps_in_tlbi: int = 0
    ranged_unmaps_in_tlbi: int = 0
    full_unmaps_in_recycling: int = 0
    ranged_bytes: int = 0
    fallbacks_broken: int = 0
    fallbacks_unknown_ipa: int = 0
    records_stored: int = 0
    records_unchanged: int = 0
    records_overlapped: int = 0
    records_failed: int = 0
    records_skipped: int = 0
    refaults: int = 0
    refaults_mapped: int = 0
    broken_mmus: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    @property
    def full_unmaps(self) -> int:
        """All full shadow unmaps, which take the time."""
        return (
            self.full_unmaps_in_notifier + self.full_unmaps_in_tlbi + self.full_unmaps_in_recycling
        )

    def add_unmap(self, unmap: Unmap, cause: Cause) -> None:
        """One call of kvm_stage2_unmap_range on a shadow MMU, made in a cause."""
        self._add(f"{'full' if unmap.full else 'ranged'}_unmaps_in_{cause.value}")
        self.ranged_bytes += unmap.size
        if unmap.fallback is not None:
            self._add(f"fallbacks_{unmap.fallback.value}")

    def add_record(self, outcome: Record) -> None:
        """One call of kvm_nested_revmap_record, by what it returned."""
        self._add(f"records_{outcome.value}")

    def _add(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)
