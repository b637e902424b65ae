"""What one shadow MMU maps: the part of the ledger's model that a reverse map changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from nvscope.lab.workloads.stage2 import PAGE_BYTES

# Bytes that an entry of L1's stage 2 covers, by level (4 KiB granule).
_LEVEL_BYTES = {1: 1 << 30, 2: 1 << 21, 3: 1 << 12}


class Unmap(Enum):
    """One call of kvm_stage2_unmap_range: of the whole MMU, or of less."""

    FULL = "full"
    RANGED = "ranged"


@dataclass(frozen=True)
class Leaf:
    """A shadow page: canonical_page in bytes; level of L1's entry behind it (kept in the PTE)."""

    canonical_page: int
    level: int
    writable: bool


class ShadowMmu:
    """One kvm_s2_mmu of kvm->arch.nested_mmus[]. vttbr: its context, None while it is invalid.

    All its mappings are 4 KiB pages, so in the reverse map two canonical ranges are equal or
    disjoint: an overlap never spans more than its page.
    """

    def __init__(self) -> None:
        self.vttbr: int | None = None
        self._leaves: dict[int, Leaf] = {}  # by nested page
        # canonical page -> nested page, or None for UNKNOWN_IPA
        self._reverse: dict[int, int | None] = {}

    def leaf(self, nested_ipa: int) -> Leaf | None:
        """What nested_ipa's page is mapped to, if it is."""
        return self._leaves.get(_page(nested_ipa))

    def map(self, nested_ipa: int, leaf: Leaf) -> None:
        """Map one page; on a mapped page only the permission changes (relax_perms)."""
        nested = _page(nested_ipa)
        old = self._leaves.get(nested)
        if old is not None:
            self._leaves[nested] = replace(old, writable=leaf.writable)
            return
        self._leaves[nested] = leaf
        same = self._reverse.setdefault(leaf.canonical_page, nested) == nested
        if not same:
            self._reverse[leaf.canonical_page] = None

    def unmap_all(self) -> Unmap:
        """A full shadow unmap; it empties the reverse map as well."""
        self._leaves.clear()
        self._reverse.clear()
        return Unmap.FULL

    def unmap_canonical(self, canonical_ipa: int, size: int) -> list[Unmap]:
        """A notifier unmap of [canonical_ipa, +size) with a reverse map: the calls it makes."""
        unmaps: list[Unmap] = []
        for page in range(_page(canonical_ipa), canonical_ipa + size, PAGE_BYTES):
            if page not in self._reverse:
                continue
            nested = self._reverse.pop(page)
            if nested is None:
                return [*unmaps, self.unmap_all()]
            self._leaves.pop(nested, None)
            unmaps.append(Unmap.RANGED)
        return unmaps

    def unmap_tlbi(self, nested_ipa: int) -> Unmap:
        """TLBI by nested IPA. The reverse map's entries stay: stale ones do no harm."""
        size = self._tlbi_bytes(nested_ipa)
        start = nested_ipa & ~(size - 1)
        for nested in [nested for nested in self._leaves if start <= nested < start + size]:
            del self._leaves[nested]
        return Unmap.RANGED

    def _tlbi_bytes(self, nested_ipa: int) -> int:
        """compute_tlb_inval_range() without a TTL: get_guest_mapping_ttl(), else 1 GiB."""
        page = _page(nested_ipa)
        for size in sorted(_LEVEL_BYTES.values()):
            start = page & ~(size - 1)
            leaf = self._leaves.get(start)
            if leaf is not None:
                covers = page < start + _LEVEL_BYTES[leaf.level]
                return _LEVEL_BYTES[leaf.level] if covers else _LEVEL_BYTES[1]
        return _LEVEL_BYTES[1]


def _page(ipa: int) -> int:
    return ipa & ~(PAGE_BYTES - 1)
