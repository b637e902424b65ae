"""What one shadow MMU maps: the part of the ledger's model that a reverse map changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from nvscope.lab.workloads.revmap import Fallback, Record, ReverseMap, Stores
from nvscope.lab.workloads.stage2 import BLOCK_BYTES, PAGE_BYTES

# Bytes that an entry of L1's stage 2 covers, by level (4 KiB granule).
_LEVEL_BYTES = {1: 1 << 30, 2: 1 << 21, 3: 1 << 12}


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

    level: of L1's entry behind it, which is kept in the PTE.
    """

    canonical: int
    size: int
    level: int
    writable: bool


class ShadowMmu:
    """One kvm_s2_mmu of kvm->arch.nested_mmus[]. vttbr: its context, None while it is invalid.

    revmap: its reverse map, None where the kernel has none. L1 is expected to break before it
    makes, so that no leaf ever replaces one of another size.
    """

    def __init__(self, stores: Stores, *, reverse_map: bool) -> None:
        self.vttbr: int | None = None
        self.revmap = ReverseMap(stores) if reverse_map else None
        self._leaves: dict[int, Leaf] = {}  # by the first byte's nested IPA
        # Mappings, whichever they are: each fault is taken to have made one.
        self._mapped = 0
        self._owed = 0  # taken by notifiers and not yet brought back

    def fault(self) -> bool:
        """A shadow fault ends. Whether it is a refault: it brings back one that is owed."""
        refault = self._owed > 0
        self._owed -= refault
        self._mapped += 1
        return refault

    def leaf(self, nested_ipa: int) -> Leaf | None:
        """The page, else the block, that maps nested_ipa."""
        page = self._leaves.get(_align(nested_ipa, PAGE_BYTES))
        if page is not None:
            return page
        block = self._leaves.get(_align(nested_ipa, BLOCK_BYTES))
        return block if block is not None and block.size == BLOCK_BYTES else None

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
        """kvm_nested_s2_unmap_full(), which empties the reverse map as well."""
        self._leaves.clear()
        if self.revmap:
            self.revmap.reset()
        self._owed = self._owed + self._mapped if cause is Cause.NOTIFIER else 0
        self._mapped = 0
        return Unmap(fallback=fallback)

    def unmap_canonical(self, canonical_ipa: int, size: int) -> list[Unmap]:
        """A notifier unmap of [canonical_ipa, +size): the calls that it makes.

        kvm_nested_revmap_unmap(), or all where there is no reverse map.
        """
        if self.revmap is None:
            return [self.unmap_all(Cause.NOTIFIER)]
        if self.revmap.broken:
            return [self.unmap_all(Cause.NOTIFIER, Fallback.BROKEN)]
        unmaps: list[Unmap] = []
        start, end = canonical_ipa, canonical_ipa + size
        while start < end and (entry := self.revmap.find(start, end)) is not None:
            if entry.nested is None:
                return [*unmaps, self.unmap_all(Cause.NOTIFIER, Fallback.UNKNOWN_IPA)]
            self._drop(entry.nested, entry.size)
            self._take_one()
            self.revmap.erase(entry)
            unmaps.append(Unmap(entry.size))
            start = entry.end
        return unmaps

    def unmap_tlbi(self, nested_ipa: int) -> Unmap:
        """TLBI by nested IPA. The reverse map's entries stay: stale ones do no harm."""
        size = self._tlbi_bytes(nested_ipa)
        self._drop(_align(nested_ipa, size), size)
        return Unmap(size)

    def _take_one(self) -> None:
        if self._mapped:
            self._mapped -= 1
            self._owed += 1

    def _drop(self, start: int, size: int) -> None:
        """Unmap all that intersects [start, +size): a leaf goes as a whole."""
        if size <= BLOCK_BYTES:
            found = {_align(start, BLOCK_BYTES), *range(start, start + size, PAGE_BYTES)}
        else:
            found = set(self._leaves)
        for nested in found & self._leaves.keys():
            if nested < start + size and start < nested + self._leaves[nested].size:
                del self._leaves[nested]

    def _tlbi_bytes(self, nested_ipa: int) -> int:
        """compute_tlb_inval_range() without a TTL: get_guest_mapping_ttl(), else 1 GiB."""
        page = _align(nested_ipa, PAGE_BYTES)
        for size in sorted(_LEVEL_BYTES.values()):
            start = _align(page, size)
            leaf = self.leaf(start)
            if leaf is not None:
                covers = page < start + _LEVEL_BYTES[leaf.level]
                return _LEVEL_BYTES[leaf.level] if covers else _LEVEL_BYTES[1]
        return _LEVEL_BYTES[1]


def _align(ipa: int, size: int) -> int:
    return ipa & ~(size - 1)
