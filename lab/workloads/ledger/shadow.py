"""What one shadow MMU maps: the part of the ledger's model that a reverse map changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from nvscope.lab.workloads.ledger.revmap import Fallback, Record, ReverseMap, Stores
from nvscope.lab.workloads.ledger.tracking import Tracking
from nvscope.lab.workloads.vmm.stage2 import SMALL, Granule

# Kinds of reverse maps, as probes.kernel.features names them; "none" is not among them.
KINDS: dict[str, Callable[[Stores], ReverseMap | Tracking]] = {
    "maple": ReverseMap,
    "tracking": Tracking,
}


class Cause(Enum):
    """What a shadow unmap is made in."""

    NOTIFIER = "notifier"
    TLBI = "tlbi"
    RECYCLING = "recycling"


@dataclass(frozen=True)
class Unmap:
    """One call of kvm_stage2_unmap_range: of size bytes, or of the whole MMU (0).

    fallback: why it is full, where a notifier has a reverse map.
    """

    size: int = 0
    fallback: Fallback | None = None

    @property
    def full(self) -> bool:
        """Whether it is of the whole MMU."""
        return self.size == 0


@dataclass(frozen=True)
class Leaf:
    """A shadow page or block: canonical, where it leads, and size in bytes.

    level: of L1's entry behind it, which is kept in the PTE; 0 where L1's stage 2 is off.
    """

    canonical: int
    size: int
    level: int
    writable: bool


class Refaults:
    """What notifiers took from one MMU and faults bring back: numbers, whichever mappings it were.

    >>> refaults = Refaults()
    >>> refaults.fault(), refaults.take_all(), refaults.fault(), refaults.fault()
    (False, None, True, False)
    """

    def __init__(self) -> None:
        self._mapped = 0  # each fault is taken to have made one
        self._owed = 0  # taken by notifiers and not yet brought back

    def fault(self) -> bool:
        """A shadow fault ends. Whether it is a refault: it brings back one that is owed."""
        refault = self._owed > 0
        self._owed -= refault
        self._mapped += 1
        return refault

    def take_one(self) -> None:
        """A notifier unmaps one entry of the reverse map."""
        if self._mapped:
            self._mapped -= 1
            self._owed += 1

    def take_all(self) -> None:
        """A notifier unmaps the whole MMU."""
        self._mapped, self._owed = 0, self._owed + self._mapped

    def forget(self) -> None:
        """Another full unmap: L1 gave up what was mapped itself."""
        self._mapped = self._owed = 0


class ShadowMmu:
    """One kvm_s2_mmu of kvm->arch.nested_mmus[].

    vttbr: its context's VTTBR_EL2, None while it is invalid; stage2_on: whether that context's
    HCR_EL2.VM is set. revmap: its reverse map, None where the kernel has none ("none"). L1 is
    expected to break before it makes, so that no leaf ever replaces one of another size.
    """

    def __init__(self, stores: Stores, *, revmap: str, granule: Granule = SMALL) -> None:
        self.vttbr: int | None = None
        self.stage2_on = False
        self.revmap = KINDS[revmap](stores) if revmap in KINDS else None
        self._granule = granule
        self._leaves: dict[int, Leaf] = {}  # by the first byte's nested IPA
        self._refaults = Refaults()
        self._refaults_mapped = Refaults()

    def fault(self) -> bool:
        """A call of user_mem_abort ends. Whether it is a refault."""
        return self._refaults.fault()

    def fault_mapped(self) -> bool:
        """The same of a call that mapped or relaxed permissions, told of no other."""
        return self._refaults_mapped.fault()

    def leaf(self, nested_ipa: int) -> Leaf | None:
        """The page, else the block, that maps nested_ipa."""
        page = self._leaves.get(self._granule.page(nested_ipa))
        if page is not None:
            return page
        block_bytes = self._granule.block_bytes
        block = self._leaves.get(_align(nested_ipa, block_bytes))
        return block if block is not None and block.size == block_bytes else None

    def map(self, nested_ipa: int, leaf: Leaf) -> Record | None:
        """Map a page or block; on what is mapped only the permission changes (relax_perms).

        What the reverse map said when told, None where it was not.
        """
        old = self.leaf(nested_ipa)
        if old is not None:
            self._leaves[_align(nested_ipa, old.size)] = replace(old, writable=leaf.writable)
            return None
        nested = _align(nested_ipa, leaf.size)
        self._leaves[nested] = leaf
        return self.revmap.record(nested, leaf.canonical, leaf.size) if self.revmap else None

    def unmap_all(self, cause: Cause, fallback: Fallback | None = None) -> Unmap:
        """Unmap the whole MMU, which empties the reverse map as well."""
        self._leaves.clear()
        if self.revmap:
            self.revmap.reset()
        for refaults in (self._refaults, self._refaults_mapped):
            if cause is Cause.NOTIFIER:
                refaults.take_all()
            else:
                refaults.forget()
        return Unmap(fallback=fallback)

    def unmap_canonical(self, canonical_ipa: int, size: int) -> list[Unmap]:
        """A notifier unmap of [canonical_ipa, +size): the calls that it makes.

        kvm_nested_revmap_unmap(), kvm_guest_s2_unmap_canonical(), or all without a reverse map.
        """
        if self.revmap is None:
            return [self.unmap_all(Cause.NOTIFIER)]
        if self.revmap.broken:
            return [self.unmap_all(Cause.NOTIFIER, Fallback.BROKEN)]
        unmaps: list[Unmap] = []
        for entry in self.revmap.intersecting(canonical_ipa, canonical_ipa + size):
            if entry.nested is None:
                return [*unmaps, self.unmap_all(Cause.NOTIFIER, Fallback.UNKNOWN_IPA)]
            self._drop(entry.nested, entry.size)
            self._refaults.take_one()
            self._refaults_mapped.take_one()
            self.revmap.erase(entry)
            unmaps.append(Unmap(entry.size))
        return unmaps

    def unmap_tlbi(self, nested_ipa: int) -> Unmap:
        """TLBI by nested IPA."""
        size = self._tlbi_bytes(nested_ipa)
        self._drop(_align(nested_ipa, size), size)
        if self.revmap:
            self.revmap.unmapped(_align(nested_ipa, size), size)
        return Unmap(size)

    def _drop(self, start: int, size: int) -> None:
        """Unmap all that intersects [start, +size): a leaf goes as a whole."""
        if size <= self._granule.block_bytes:
            block = _align(start, self._granule.block_bytes)
            found = {block, *range(start, start + size, self._granule.page_bytes)}
        else:
            found = set(self._leaves)
        for nested in found & self._leaves.keys():
            if nested < start + size and start < nested + self._leaves[nested].size:
                del self._leaves[nested]

    def _tlbi_bytes(self, nested_ipa: int) -> int:
        """compute_tlb_inval_range() without a TTL: get_guest_mapping_ttl(), else the most.

        The most is 1 GiB with 4 KiB pages, a level-2 block with larger ones: where a walk starts.
        Where L1's stage 2 is off, the PTE has no level, and gives no hint.
        """
        page = self._granule.page(nested_ipa)
        most = self._granule.level_bytes(self._granule.root_level)
        for level in reversed(self._granule.levels):
            start = _align(page, self._granule.level_bytes(level))
            leaf = self.leaf(start)
            if leaf is not None and leaf.level:
                size = self._granule.level_bytes(leaf.level)
                return size if page < start + size else most
        return most


def _align(ipa: int, size: int) -> int:
    return ipa & ~(size - 1)
