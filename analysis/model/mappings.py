"""What the page tables of a shadow MMU hold, found by nested IPA and by canonical IPA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


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


class _Index:
    """Mappings by one of their addresses: by size, and then by the block of that size.

    KVM maps in few sizes (a page, a block of the next level), aligned: one look per size finds
    what a small range intersects.
    """

    def __init__(self, field: int) -> None:
        self._field = field  # of Mapping: the address
        self._sizes: dict[int, dict[int, tuple[Mapping, ...]]] = {}
        self._reach = 0  # blocks that one that is not aligned may reach into, after its first

    def add(self, mapping: Mapping) -> None:
        size = mapping.size
        blocks = self._sizes.get(size)
        if blocks is None:
            blocks = self._sizes[size] = {}
        block, off = divmod(mapping[self._field], size)
        if off:
            self._reach = 1
        old = blocks.get(block)
        blocks[block] = (mapping,) if old is None else (*old, mapping)

    def remove(self, mapping: Mapping) -> None:
        blocks = self._sizes[mapping.size]
        block = mapping[self._field] // mapping.size
        if len(blocks[block]) > 1:
            blocks[block] = tuple(other for other in blocks[block] if other is not mapping)
        else:
            del blocks[block]
            if not blocks:
                del self._sizes[mapping.size]

    def intersecting(self, start: int, end: int) -> list[Mapping]:
        """Those whose address range intersects [start, end). O(sizes), and what is in the way."""
        found: list[Mapping] = []
        field = self._field
        for size, blocks in self._sizes.items():
            first, last = start // size - self._reach, (end - 1) // size
            if first == last:
                found += blocks.get(first, ())
            elif last - first < len(blocks):
                for block in range(first, last + 1):
                    found += blocks.get(block, ())
            else:
                for block, mappings in blocks.items():
                    if first <= block <= last:
                        found += mappings
        if self._reach:
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
        return len(self._all)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._all.values())

    def clear(self) -> None:
        """All are gone."""
        self._all: dict[int, Mapping] = {}  # by nested
        self._by_nested = _Index(0)
        self._by_canonical = _Index(1)

    def has(self, mapping: Mapping) -> bool:
        """Whether just this is mapped already, for sure."""
        old = self._all.get(mapping.nested)
        return (
            old is not None
            and old.certain
            and old.canonical == mapping.canonical
            and old.size == mapping.size
        )

    def make(self, mapping: Mapping) -> list[Mapping]:
        """Add one. Those that it overlaps go, wholly, and are returned."""
        gone = self.mapped_in(mapping.nested, mapping.nested + mapping.size)
        for old in gone:
            self.remove(old)
        self._put(mapping)
        return gone

    def remove(self, mapping: Mapping) -> None:
        """Take out one that is there."""
        del self._all[mapping.nested]
        self._by_nested.remove(mapping)
        self._by_canonical.remove(mapping)

    def doubt(self, mapping: Mapping) -> None:
        """One that is there may be there no more."""
        if mapping.certain:
            self.remove(mapping)
            self._put(mapping._replace(certain=False))

    def mapped_in(self, start: int, end: int) -> list[Mapping]:
        """Those that intersect the nested range [start, end), in no order."""
        return self._by_nested.intersecting(start, end)

    def leading_into(self, start: int, end: int) -> list[Mapping]:
        """Those that lead into the canonical range [start, end), in no order."""
        return self._by_canonical.intersecting(start, end)

    def _put(self, mapping: Mapping) -> None:
        self._all[mapping.nested] = mapping
        self._by_nested.add(mapping)
        self._by_canonical.add(mapping)
