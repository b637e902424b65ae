"""What the page tables of a shadow MMU hold, found by nested IPA and by canonical IPA.

This is the one account of it: the validator's (shadow.py, which adds what is not certain), a
report's and Perfetto's (interop/refaults.py). The compiled loop has arrays instead, for speed, and
the lab's ledger shares nothing with it: that is what all of this is tested against.

Leaves of page tables go whole: of a block of 2 MiB one page is never unmapped alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nvscope.analysis.model.quick import maker

# Granules of 4, 16 and 64 KiB and blocks of them (Arm ARM, D8.2): powers of two, no smaller.
SMALLEST_LEAF = 4096


def is_leaf(size: int) -> bool:
    """Whether one entry of a page table can map so many bytes.

    >>> is_leaf(4096), is_leaf(2 << 20), is_leaf(3 << 20), is_leaf(0)
    (True, True, False, False)
    """
    return size >= SMALLEST_LEAF and not size & (size - 1)


class Mapping(NamedTuple):
    """[nested, +size) leads to [canonical, +size); in bytes.

    made: the row of the trace that made it. certain: whether it is there for sure. One that was
    made while an unmap of its range was under way may have survived, or not.
    """

    nested: int
    canonical: int
    size: int
    made: int
    certain: bool = True


make_mapping = maker(Mapping)

# What is in one block: nearly always one mapping. But a guest may map one page of its hypervisor's
# any number of times (a page of zeros, say): past a few they are the keys of a dictionary.
_Block = tuple[Mapping, ...] | dict[Mapping, None]
_FEW = 8


def _with(here: _Block, mapping: Mapping) -> _Block:
    if isinstance(here, tuple):
        if len(here) < _FEW:
            return (*here, mapping)
        here = dict.fromkeys(here)
    here[mapping] = None
    return here


def _without(here: _Block, mapping: Mapping) -> _Block:
    if isinstance(here, tuple):
        return tuple(other for other in here if other is not mapping)
    del here[mapping]
    return here


class Index:
    """Mappings by one of their addresses: by size, and then by the block of that size.

    KVM maps in few sizes (a page, a block of the next level), aligned: one look per size finds
    what a small range intersects.
    """

    def __init__(self, field: int) -> None:
        self._field = field  # of Mapping: the address
        self._sizes: dict[int, dict[int, _Block]] = {}
        self._reach = 0  # blocks that one that is not aligned may reach into, after its first

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def __iter__(self) -> Iterator[Mapping]:
        for blocks in self._sizes.values():
            for here in blocks.values():
                yield from here

    def add(self, mapping: Mapping, address: int, size: int) -> None:
        """Enter one, at this address."""
        blocks = self._sizes.get(size)
        if blocks is None:
            blocks = self._sizes[size] = {}
        block = address // size
        if block * size != address:
            self._reach = 1
        alone = (mapping,)
        here = blocks.setdefault(block, alone)
        if here is not alone:
            blocks[block] = _with(here, mapping)

    def remove(self, mapping: Mapping, address: int, size: int) -> None:
        """Take out just this one."""
        blocks = self._sizes[size]
        block = address // size
        here = blocks.pop(block)
        if len(here) > 1:
            blocks[block] = _without(here, mapping)
        elif not blocks:
            del self._sizes[size]

    def intersecting(self, start: int, end: int) -> list[Mapping]:
        """Those whose address range intersects [start, end). O(sizes), and what is in the way."""
        found: list[Mapping] = []
        reach = self._reach
        for size, blocks in self._sizes.items():
            first, last = start // size - reach, (end - 1) // size
            if first == last:
                here = blocks.get(first)
                if here is not None:
                    found += here
            elif last - first < len(blocks):
                for block in range(first, last + 1):
                    found += blocks.get(block, ())
            else:
                for block, mappings in blocks.items():
                    if first <= block <= last:
                        found += mappings
        if reach:
            field = self._field
            return [m for m in found if m[field] < end and start < m[field] + m.size]
        return found


class Mappings:
    """The mappings of one shadow MMU; those by nested IPA never overlap.

    >>> mappings = Mappings()
    >>> mappings.make(Mapping(0x1000, 0x9000, 0x1000, 0))
    []
    >>> [hex(m.nested) for m in mappings.leading_into(0x8000, 0xa000)]
    ['0x1000']
    """

    def __init__(self) -> None:
        self.clear()

    def __len__(self) -> int:
        """O(n)."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._by_nested)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._by_nested)

    def clear(self) -> None:
        """All are gone."""
        self._by_nested = Index(0)
        self._by_canonical = Index(1)
        # Those that intersect the nested range [start, end), in no order.
        self.mapped_in = self._by_nested.intersecting
        # Those that lead into the canonical range [start, end), in no order.
        self.leading_into = self._by_canonical.intersecting

    def make(self, mapping: Mapping, *, anew: bool = True) -> list[Mapping]:
        """Add one. Those that it overlaps go, wholly, and are returned.

        anew: also where just this is there already, for sure; else that stays as it is.
        """
        nested, canonical, size, _, _ = mapping
        gone = self.mapped_in(nested, nested + size)
        if gone:
            if not anew and gone[0].certain and gone[0][:3] == mapping[:3]:
                return []
            for old in gone:
                self.remove(old)
        self._by_nested.add(mapping, nested, size)
        self._by_canonical.add(mapping, canonical, size)
        return gone

    def remove(self, mapping: Mapping) -> None:
        """Take out one that is there."""
        nested, canonical, size, _, _ = mapping
        self._by_nested.remove(mapping, nested, size)
        self._by_canonical.remove(mapping, canonical, size)

    def taken_by(self, start: int, end: int, *, full: bool) -> list[Mapping]:
        """What an unmap of the nested range [start, end) takes, or a full one; in no order."""
        return list(self) if full else self.mapped_in(start, end)

    def take(self, start: int, end: int, *, full: bool) -> list[Mapping]:
        """The same, and it is gone."""
        gone = self.taken_by(start, end, full=full)
        if full:
            self.clear()
        else:
            for mapping in gone:
                self.remove(mapping)
        return gone

    def doubt(self, mapping: Mapping) -> None:
        """One that is there may be there no more."""
        if mapping.certain:
            self.make(mapping._replace(certain=False))
