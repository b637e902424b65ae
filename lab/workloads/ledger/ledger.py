"""Ground truth: what each operation on the synthetic nested guest makes KVM do, exactly.

A model of one VM, whose vCPUs run one at a time, or at once where that makes no difference. Its
memory is one private anonymous mapping of small pages or, in part, of huge ones, populated by
writing. Told of every operation, the model follows which pages the host holds, what the canonical
stage 2 and each shadow MMU map, and counts what KVM must have been asked to do. Sources named are
functions of arch/arm64/kvm/{mmu,nested,sys_regs}.c, Linux 7.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.ledger.revmap import Stores
from nvscope.lab.workloads.ledger.shadow import Cause, Leaf, ShadowMmu
from nvscope.lab.workloads.vmm.stage2 import LAST_LEVEL, SMALL, Granule, Translation

# kvm_vcpu_init_nested(): S2_MMU_PER_VCPU shadow MMUs for each vCPU.
MMUS_PER_VCPU = 2


class _Host(Enum):
    """The host's page behind a canonical page that is not absent."""

    ZERO = "zero"  # the shared zero page: read since it was taken back, not written
    OWNED = "owned"  # a page of its own, writable


Walk = Callable[[int], Translation | None]


@dataclass(frozen=True)
class Context:
    """One stage 2 that L1 uses. vttbr: VTTBR_EL2; walk: nested IPA -> L1's translation;

    code_ipa: the nested IPA of the page that holds the code. stage2_on: HCR_EL2.VM; where it is
    clear, L1 runs its own EL1, and what would be nested IPAs are canonical ones (`untranslated`).
    """

    vttbr: int
    walk: Walk
    code_ipa: int
    stage2_on: bool = True

    @property
    def vmid(self) -> int:
        """The VMID, bits 63:48 of VTTBR_EL2."""
        return self.vttbr >> 48


def untranslated(canonical_ipa: int) -> Translation:
    """The walk of a context with L1's stage 2 off: every address leads to itself."""
    return Translation(canonical_ipa, level=0, writable=True, executable=True)


class Ledger:
    """Told of every operation, in order; `counts` is what they must have caused so far.

    revmap: how the kernel finds the shadow mappings of a canonical range, for ranged unmaps: with a
    "maple" tree, by "tracking" them, or not ("none"): a notifier unmap then drops every valid
    shadow MMU whole.
    granule: of the host's pages, and of L1's stage 2.

    >>> ledger = Ledger()
    >>> ledger.populate(0x1000, 0x1000)
    >>> ledger.l1_access(0x1000, write=True)
    >>> ledger.take_back(0x1000, 0x1000)
    >>> ledger.counts.notifier_unmaps, ledger.counts.canonical_faults
    (1, 1)
    """

    def __init__(self, *, revmap: str = "none", granule: Granule = SMALL) -> None:
        self._granule = granule
        self._revmap = revmap
        self._counts = Counts()
        self.stores = Stores()
        self._host: dict[int, _Host] = {}
        self._huge: tuple[int, int] = (0, 0)
        self._canonical: dict[int, bool] = {}  # canonical page -> mapped writable
        self._mmus = self._mmus_of_a_vcpu()
        self._next_mmu = 0

    @property
    def counts(self) -> Counts:
        """What was caused so far."""
        self._counts.broken_mmus = sum(bool(m.revmap and m.revmap.broken) for m in self._mmus)
        return self._counts

    def add_vcpu(self) -> None:
        """KVM_ARM_VCPU_INIT of one more vCPU: shadow MMUs more, which are invalid.

        The others stay as they are; Linux 6.16 to 7.1 may move all of them in memory.
        """
        self._mmus += self._mmus_of_a_vcpu()

    def populate(self, canonical_ipa: int, size: int) -> None:
        """The host wrote this memory before KVM knew of it."""
        for page in self._pages(canonical_ipa, size):
            self._host[page] = _Host.OWNED

    def populate_huge(self, canonical_ipa: int, size: int) -> None:
        """As populate, and in huge pages; whole ones, and only as wholes are they taken back."""
        self.populate(canonical_ipa, size)
        self._huge = (canonical_ipa, canonical_ipa + size)

    def host_read(self, canonical_ipa: int) -> None:
        """The host program read a byte: what was taken back becomes the zero page."""
        self._host.setdefault(self._granule.page(canonical_ipa), _Host.ZERO)

    def host_write(self, canonical_ipa: int) -> None:
        """The host program wrote a byte: copy-on-write of the zero page is a notifier."""
        page = self._granule.page(canonical_ipa)
        if self._host.get(page) is _Host.ZERO:
            self._notifier_unmap(page, self._granule.page_bytes)
        self._host[page] = _Host.OWNED

    def take_back(self, canonical_ipa: int, size: int) -> None:
        """madvise(MADV_DONTNEED) of one range: one notifier, whatever was populated.

        Raises ValueError where it would split a huge page, which is another notifier.
        """
        start, end = self._huge
        whole = (canonical_ipa | size) % self._granule.block_bytes == 0
        if canonical_ipa < end and canonical_ipa + size > start and not whole:
            raise ValueError(f"{canonical_ipa:#x} + {size:#x} would split a huge page")
        self._notifier_unmap(canonical_ipa, size)
        for page in self._pages(canonical_ipa, size):
            self._host.pop(page, None)

    def l1_access(self, canonical_ipa: int, *, write: bool = False) -> None:
        """L1 reads, writes or fetches at a canonical IPA, through the canonical stage 2."""
        page = self._granule.page(canonical_ipa)
        while page not in self._canonical or (write and not self._canonical[page]):
            self._counts.canonical_faults += 1
            if self._fault_in(page, write):
                self._counts.canonical_mapped += 1
                writable = self._host[page] is _Host.OWNED
                for mapped in self._pages(*self._host_page(page)):
                    self._canonical[mapped] = writable

    def l2_run(self, context: Context, nested_ipas: Iterable[int], *, write: bool) -> int:
        """L1 enters L2, which accesses each address. How many it did before an abort to L1.

        Or L1 enters its own EL1, if the context's stage 2 is off.
        """
        mmu = self._enter(context)
        done = 0
        for nested_ipa in nested_ipas:
            if not self._l2_access(mmu, context, nested_ipa, write):
                self._counts.reflected_aborts += 1
                return done
            done += 1
        self._fetch(mmu, context)  # the hvc
        return done

    def tlbi_vmid(self, vmid: int) -> None:
        """TLBI VMALLS12E1IS: handle_vmalls12e1is(), every valid MMU of the VMID, whole."""
        for mmu in self._of_vmid(vmid):
            self._counts.add_unmap(mmu.unmap_all(Cause.TLBI), Cause.TLBI)

    def tlbi_all(self) -> None:
        """TLBI ALLE1IS: handle_alle1is(), every valid MMU, whole."""
        for mmu in self._valid():
            self._counts.add_unmap(mmu.unmap_all(Cause.TLBI), Cause.TLBI)

    def tlbi_ipa(self, vmid: int, nested_ipa: int) -> None:
        """TLBI IPAS2E1IS without a level hint: s2_mmu_unmap_ipa(), each MMU of the VMID."""
        for mmu in self._of_vmid(vmid):
            self._counts.add_unmap(mmu.unmap_tlbi(nested_ipa), Cause.TLBI)

    def _mmus_of_a_vcpu(self) -> list[ShadowMmu]:
        return [self._new_mmu() for _ in range(MMUS_PER_VCPU)]

    def _new_mmu(self) -> ShadowMmu:
        return ShadowMmu(self.stores, revmap=self._revmap, granule=self._granule)

    def _l2_access(self, mmu: ShadowMmu, context: Context, nested_ipa: int, write: bool) -> bool:
        """One access, retried until it neither faults nor aborts to L1 (then False).

        A fault may itself cause a notifier, hence L2's code is fetched again each time.
        """
        while self._fetch(mmu, context):
            leaf = mmu.leaf(nested_ipa)
            if leaf is not None and (leaf.writable or not write):
                return True
            translation = context.walk(self._granule.page(nested_ipa))
            if translation is None or (leaf is not None and not translation.writable):
                return False  # kvm_walk_nested_s2(), kvm_s2_handle_perm_fault()
            self._shadow_fault(mmu, nested_ipa, translation, write)
        return False

    def _fetch(self, mmu: ShadowMmu, context: Context) -> bool:
        while mmu.leaf(context.code_ipa) is None:
            translation = context.walk(self._granule.page(context.code_ipa))
            if translation is None:
                return False
            self._shadow_fault(mmu, context.code_ipa, translation, write=False)
        return True

    def _shadow_fault(
        self, mmu: ShadowMmu, nested_ipa: int, translation: Translation, write: bool
    ) -> None:
        """user_mem_abort() with a shadow MMU in use."""
        self._counts.shadow_faults += 1
        page = self._granule.page(translation.canonical_ipa)
        if self._fault_in(page, write):
            self._shadow_map(mmu, nested_ipa, translation)
            self._counts.shadow_mapped += 1
            self._counts.refaults_mapped += mmu.fault_mapped()
        self._counts.refaults += mmu.fault()

    def _shadow_map(self, mmu: ShadowMmu, nested_ipa: int, translation: Translation) -> None:
        """kvm_s2_fault_map(): a block where L1 and the host both have one, else a page.

        With L1's stage 2 off the host alone decides.
        """
        page = self._granule.page(translation.canonical_ipa)
        start, size = self._host_page(page)
        if translation.level == LAST_LEVEL:
            start, size = page, self._granule.page_bytes
        writable = translation.writable and self._host[start] is _Host.OWNED
        outcome = mmu.map(nested_ipa, Leaf(start, size, translation.level, writable))
        if outcome:
            self._counts.add_record(outcome)

    def _host_page(self, page: int) -> tuple[int, int]:
        """(start, size) of the host's page behind a canonical page."""
        if self._huge[0] <= page < self._huge[1]:
            return page & -self._granule.block_bytes, self._granule.block_bytes
        return page, self._granule.page_bytes

    def _fault_in(self, page: int, write: bool) -> bool:
        """kvm_s2_fault_pin_pfn(): False where a notifier meanwhile makes KVM retry (-EAGAIN)."""
        if not write:
            self.host_read(page)
            return True
        copied = self._host.get(page) is _Host.ZERO
        if page not in self._host:
            self.populate(*self._host_page(page))
        self.host_write(page)
        return not copied

    def _notifier_unmap(self, canonical_ipa: int, size: int) -> None:
        """kvm_unmap_gfn_range()."""
        self._counts.notifier_unmaps += 1
        for page in self._pages(canonical_ipa, size):
            self._canonical.pop(page, None)
        for mmu in self._valid():
            for unmap in mmu.unmap_canonical(canonical_ipa, size):
                self._counts.add_unmap(unmap, Cause.NOTIFIER)

    def _enter(self, context: Context) -> ShadowMmu:
        """get_s2_mmu_nested(): the context's MMU, or the next one in turn, recycled."""
        for mmu in self._valid():
            if _is_for(mmu, context):
                return mmu
        mmu = self._mmus[self._next_mmu]
        self._next_mmu = (self._next_mmu + 1) % len(self._mmus)
        if mmu.vttbr is not None:
            self._counts.add_unmap(mmu.unmap_all(Cause.RECYCLING), Cause.RECYCLING)
        mmu.vttbr, mmu.stage2_on = context.vttbr, context.stage2_on
        return mmu

    def _valid(self) -> list[ShadowMmu]:
        return [mmu for mmu in self._mmus if mmu.vttbr is not None]

    def _pages(self, ipa: int, size: int) -> range:
        return range(self._granule.page(ipa), ipa + size, self._granule.page_bytes)

    def _of_vmid(self, vmid: int) -> list[ShadowMmu]:
        return [mmu for mmu in self._mmus if mmu.vttbr is not None and mmu.vttbr >> 48 == vmid]


def _is_for(mmu: ShadowMmu, context: Context) -> bool:
    """lookup_s2_mmu(): by VTTBR_EL2 as a whole or, with L1's stage 2 off, by its VMID alone."""
    if mmu.vttbr is None or mmu.stage2_on != context.stage2_on:
        return False
    return mmu.vttbr == context.vttbr if context.stage2_on else mmu.vttbr >> 48 == context.vmid
