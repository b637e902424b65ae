"""A model of what a kernel tracks of one shadow MMU, kvm_s2_mmu::guest_s2.

It follows the tracking kernel's patch (lab/kernel/patches/0001-guest-s2-tracking.patch), whose
functions in arch/arm64/kvm/guest_s2.c are named here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nvscope.lab.workloads.ledger.revmap import Entry, Record, Stores

# Mappings are looked up by the 2 MiB of address space that they lie in.
_FRAME_BYTES = 1 << 21
MAX_REPLACED = 8  # of guest_s2.c


class _Index:
    """Entries by where they begin, as an address of one kind."""

    def __init__(self) -> None:
        self._frames: defaultdict[int, set[tuple[int, Entry]]] = defaultdict(set)

    def add(self, start: int, entry: Entry) -> None:
        """Enter it."""
        for frame in _frames(start, start + entry.size):
            self._frames[frame].add((start, entry))

    def remove(self, start: int, entry: Entry) -> None:
        """Take it out again."""
        for frame in _frames(start, start + entry.size):
            self._frames[frame].remove((start, entry))

    def intersecting(self, start: int, end: int) -> list[Entry]:
        """Those that intersect [start, end), by their beginning."""
        found = {
            (first, entry)
            for frame in _frames(start, end)
            if frame in self._frames
            for first, entry in self._frames[frame]
            if first < end and start < first + entry.size
        }
        return [entry for _, entry in sorted(found, key=lambda each: each[0])]


class Tracking:
    """The mappings, each with its one nested IPA, and whether they are all there.

    >>> tracking = Tracking(Stores())
    >>> tracking.record(0x8000, 0x1000, 0x1000), tracking.record(0x9000, 0x1000, 0x1000)
    (<Record.STORED: 'stored'>, <Record.STORED: 'stored'>)
    >>> first = next(tracking.intersecting(0x1000, 0x2000))
    >>> tracking.erase(first)
    >>> hex(first.nested), hex(next(tracking.intersecting(0x1000, 0x2000)).nested)
    ('0x8000', '0x9000')
    """

    def __init__(self, stores: Stores) -> None:
        self.broken = False  # is_incomplete()
        self._stores = stores
        self._canonical, self._nested = _Index(), _Index()

    def record(self, nested: int, canonical: int, size: int) -> Record:
        """kvm_guest_s2_track(): a mapping is about to be made, aligned to its size."""
        new = Entry(canonical, size, nested)
        there = [
            old
            for old in self._nested.intersecting(nested, nested + size)
            if _start(old) <= nested and nested + size <= _start(old) + old.size
        ]
        if new in there:
            return Record.UNCHANGED
        if len(there) >= MAX_REPLACED or self._stores.fails():
            self.broken = True
            return Record.FAILED
        self._canonical.add(canonical, new)
        self._nested.add(nested, new)
        return Record.STORED

    def intersecting(self, start: int, end: int) -> Iterator[Entry]:
        """Those of canonical [start, end), each to be unmapped and `erase`d before the next."""
        while entries := self._canonical.intersecting(start, end):
            yield entries[0]

    def erase(self, entry: Entry) -> None:
        """A notifier has unmapped what an entry says."""
        self.unmapped(_start(entry), entry.size)

    def unmapped(self, nested: int, size: int) -> None:
        """kvm_guest_s2_untrack(): all that intersects a range of nested IPAs was unmapped."""
        for entry in self._nested.intersecting(nested, nested + size):
            self._canonical.remove(entry.first, entry)
            self._nested.remove(_start(entry), entry)

    def reset(self) -> None:
        """A full unmap, in which nothing else was mapped."""
        self._canonical, self._nested = _Index(), _Index()
        self.broken = False


def _frames(start: int, end: int) -> range:
    return range(start // _FRAME_BYTES, -(-end // _FRAME_BYTES))


def _start(entry: Entry) -> int:
    """Its nested IPA, which is always known."""
    assert entry.nested is not None
    return entry.nested
