"""Ground truth where the reverse map is another's: what holds on any kernel, and no more.

Two ledgers are told of the same operations. One has the kernel lose each shadow MMU to each
notifier, the other only the mappings that lead into the notifier's range. A kernel that is right
unmaps no less than the second, and none that has a reverse map needs to unmap more than the first.
What both count alike must be so exactly. Shadow faults lie between the two: each that the second
does not have brings back what some notifier took.

L2 may not write where L1 maps a page read-only. If the page is mapped, KVM gives L1 the abort at
once; else the host's page is first made writable, which can be one more notifier.
"""

from __future__ import annotations

from collections.abc import Iterable

from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.ledger.ledger import Context, Ledger
from nvscope.lab.workloads.ledger.shadow import ShadowMmu, Unmap
from nvscope.lab.workloads.vmm.stage2 import SMALL, Granule

# Names of Counts. The host's pages and the canonical stage 2 alone decide these.
EXACT = ("notifier_unmaps", "canonical_faults", "canonical_mapped", "reflected_aborts")
BETWEEN = ("shadow_faults", "shadow_mapped", "full_unmaps_in_notifier")


class _LeastMmu(ShadowMmu):
    """Loses to a notifier what leads into its range, and nothing else."""

    def unmap_canonical(self, canonical_ipa: int, size: int) -> list[Unmap]:
        end = canonical_ipa + size
        self._leaves = {
            nested: leaf
            for nested, leaf in self._leaves.items()
            if leaf.canonical >= end or leaf.canonical + leaf.size <= canonical_ipa
        }
        return []


class _LeastLedger(Ledger):
    def _new_mmu(self) -> ShadowMmu:
        return _LeastMmu(self.stores, revmap="none", granule=self._granule)


class UnknownLedger:
    """Told of what a Ledger is told of; `counts` are the most that a kernel may do.

    >>> ledger = UnknownLedger()
    >>> ledger.populate(0x1000, 0x1000)
    >>> ledger.l1_access(0x1000)
    >>> ledger.exact()["canonical_faults"], ledger.bounds()["shadow_faults"]
    (1, (0, 0))
    """

    def __init__(self, *, granule: Granule = SMALL) -> None:
        self.most = Ledger(granule=granule)
        self.least: Ledger = _LeastLedger(granule=granule)
        self.stores = self.most.stores
        self._both = (self.least, self.most)

    @property
    def counts(self) -> Counts:
        """As of a kernel that drops every shadow MMU whole."""
        return self.most.counts

    def exact(self) -> dict[str, int]:
        """What must be so on any kernel, by name."""
        counts = self.counts.as_dict()
        return {name: counts[name] for name in EXACT}

    def bounds(self) -> dict[str, tuple[int, int]]:
        """The least and the most of what depends on the reverse map, by name."""
        least, most = self.least.counts.as_dict(), self.counts.as_dict()
        return {name: (least[name], most[name]) for name in BETWEEN}

    def add_vcpu(self) -> None:
        """As Ledger's, like all that follow."""
        for ledger in self._both:
            ledger.add_vcpu()

    def populate(self, canonical_ipa: int, size: int) -> None:
        """The host wrote this memory."""
        for ledger in self._both:
            ledger.populate(canonical_ipa, size)

    def populate_huge(self, canonical_ipa: int, size: int) -> None:
        """The host wrote it, in huge pages."""
        for ledger in self._both:
            ledger.populate_huge(canonical_ipa, size)

    def host_read(self, canonical_ipa: int) -> None:
        """The host program read a byte."""
        for ledger in self._both:
            ledger.host_read(canonical_ipa)

    def host_write(self, canonical_ipa: int) -> None:
        """The host program wrote a byte."""
        for ledger in self._both:
            ledger.host_write(canonical_ipa)

    def take_back(self, canonical_ipa: int, size: int) -> None:
        """madvise(MADV_DONTNEED) of one range."""
        for ledger in self._both:
            ledger.take_back(canonical_ipa, size)

    def l1_access(self, canonical_ipa: int, *, write: bool = False) -> None:
        """L1 reads, writes or fetches."""
        for ledger in self._both:
            ledger.l1_access(canonical_ipa, write=write)

    def l2_run(self, context: Context, nested_ipas: Iterable[int], *, write: bool) -> int:
        """L1 enters L2. How many accesses it did, which no reverse map changes.

        Raises ValueError for a write of a page that L1 maps read-only.
        """
        addresses = list(nested_ipas)
        for address in addresses if write else ():
            translation = context.walk(address)
            if translation and not translation.writable:
                raise ValueError(f"L2 writes nested IPA {address:#x}, which is read-only")
        self.least.l2_run(context, addresses, write=write)
        return self.most.l2_run(context, addresses, write=write)

    def tlbi_vmid(self, vmid: int) -> None:
        """TLBI VMALLS12E1IS."""
        for ledger in self._both:
            ledger.tlbi_vmid(vmid)

    def tlbi_all(self) -> None:
        """TLBI ALLE1IS."""
        for ledger in self._both:
            ledger.tlbi_all()

    def tlbi_ipa(self, vmid: int, nested_ipa: int) -> None:
        """TLBI IPAS2E1IS."""
        for ledger in self._both:
            ledger.tlbi_ipa(vmid, nested_ipa)
