"""A model of the nested reverse map of one shadow MMU, kvm_s2_mmu::nested_revmap: a maple tree.

It follows the lab kernel's patch (lab/kernel/patches/0001-nested-revmap.patch), whose functions in
arch/arm64/kvm/nested.c are named here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Record(Enum):
    """What kvm_nested_revmap_record() did, enum kvm_revmap_record; SKIPPED is _WAS_BROKEN.

    Of tracking, enum kvm_guest_s2_tracked: STORED, UNCHANGED and FAILED.
    """

    STORED = "stored"
    UNCHANGED = "unchanged"
    OVERLAPPED = "overlapped"
    FAILED = "failed"
    SKIPPED = "skipped"


class Fallback(Enum):
    """Why a notifier unmaps all of a shadow MMU, enum kvm_revmap_fallback (without races)."""

    BROKEN = "broken"
    UNKNOWN_IPA = "unknown_ipa"


class Stores:
    """The calls of kvm_nested_revmap_store() or kvm_guest_s2_add(), of all MMUs.

    fail_in: which one from now on fails, 1 being the next; 0: none.

    >>> stores = Stores()
    >>> stores.fail_in = 2
    >>> [stores.fails() for _ in range(3)]
    [False, True, False]
    """

    def __init__(self) -> None:
        self.fail_in = 0

    def fails(self) -> bool:
        """A call is made; whether it fails."""
        if not self.fail_in:
            return False
        self.fail_in -= 1
        return self.fail_in == 0


@dataclass(frozen=True)
class Entry:
    """Canonical [first, first + size) is mapped at nested; None is UNKNOWN_IPA. All in bytes."""

    first: int
    size: int
    nested: int | None

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.first + self.size


class ReverseMap:
    """The entries, which never overlap, and whether they are all there.

    >>> revmap = ReverseMap(Stores())
    >>> revmap.record(0x8000, 0x1000, 0x1000), revmap.record(0x9000, 0x1000, 0x1000)
    (<Record.STORED: 'stored'>, <Record.OVERLAPPED: 'overlapped'>)
    >>> revmap.find(0x1000, 0x2000)
    Entry(first=4096, size=4096, nested=None)
    """

    def __init__(self, stores: Stores) -> None:
        self.broken = False
        self._stores = stores
        self._firsts: list[int] = []  # sorted
        self._entries: dict[int, Entry] = {}  # by first

    def find(self, start: int, end: int) -> Entry | None:
        """revmap_find(): the first entry that intersects [start, end). O(log n)."""
        at = bisect_left(self._firsts, start)
        if at > 0 and (before := self._entries[self._firsts[at - 1]]).end > start:
            return before
        if at < len(self._firsts) and self._firsts[at] < end:
            return self._entries[self._firsts[at]]
        return None

    def intersecting(self, start: int, end: int) -> Iterator[Entry]:
        """Those of [start, end), in order, each to be unmapped and `erase`d before the next."""
        while start < end and (entry := self.find(start, end)) is not None:
            yield entry
            start = entry.end

    def record(self, nested: int, canonical: int, size: int) -> Record:
        """kvm_nested_revmap_record(): a mapping is about to be made, aligned to its size."""
        if self.broken:
            return Record.SKIPPED
        new = Entry(canonical, size, nested)
        overlaps = list(self.intersecting(canonical, canonical + size))
        for old in overlaps:
            covers = old.first <= canonical and canonical + size <= old.end
            if old == new or (old.nested is None and covers):
                return Record.UNCHANGED
        if overlaps:
            first = min(canonical, overlaps[0].first)
            end = max(canonical + size, overlaps[-1].end)
            new = Entry(first, end - first, None)
        if self._stores.fails():
            self.broken = True
            return Record.FAILED
        for old in overlaps:
            self._remove(old)
        insort(self._firsts, new.first)
        self._entries[new.first] = new
        return Record.OVERLAPPED if overlaps else Record.STORED

    def erase(self, entry: Entry) -> None:
        """revmap_erase(): where that fails the entry stays, and the map is broken."""
        if self._stores.fails():
            self.broken = True
        else:
            self._remove(entry)

    def unmapped(self, nested: int, size: int) -> None:
        """A TLBI has unmapped a range of nested IPAs: its entries stay, stale ones do no harm."""

    def reset(self) -> None:
        """kvm_nested_revmap_reset(): nothing is mapped any more."""
        self._firsts.clear()
        self._entries.clear()
        self.broken = False

    def _remove(self, entry: Entry) -> None:
        del self._firsts[bisect_left(self._firsts, entry.first)]
        del self._entries[entry.first]
