"""What a kernel tracks of one shadow MMU: any number of nested IPAs for a canonical one."""

from __future__ import annotations

from collections.abc import Iterator

from nvscope.analysis.model.mappings import Index, Mapping


class Tracked:
    """The mappings that are tracked; unlike those that are there, some may overlap by nested IPA.

    >>> tracked = Tracked()
    >>> tracked.add(Mapping(0x1000, 0x9000, 0x1000, 0)), tracked.add(Mapping(0, 0x9000, 0x1000, 1))
    (None, None)
    >>> sorted(m.nested for m in tracked.leading_into(0x9000, 0xA000))
    [0, 4096]
    """

    def __init__(self) -> None:
        self.clear()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._known.values())

    def clear(self) -> None:
        """None is."""
        self._known: dict[tuple[int, int, int], Mapping] = {}
        self._by_nested, self._by_canonical = Index(0), Index(1)
        # As in Mappings.
        self.mapped_in = self._by_nested.intersecting
        self.leading_into = self._by_canonical.intersecting

    def get(self, nested: int, canonical: int, size: int) -> Mapping | None:
        """This very mapping, if it is."""
        return self._known.get((nested, canonical, size))

    def add(self, mapping: Mapping) -> None:
        """Track one, in place of its like."""
        old = self.get(*mapping[:3])
        if old is not None:
            self.remove(old)
        nested, canonical, size, _, _ = mapping
        self._known[nested, canonical, size] = mapping
        self._by_nested.add(mapping, nested, size)
        self._by_canonical.add(mapping, canonical, size)

    def remove(self, mapping: Mapping) -> None:
        """Track one no more; raises KeyError where its like is not there."""
        nested, canonical, size, _, _ = mapping
        known = self._known.pop((nested, canonical, size))
        self._by_nested.remove(known, nested, size)
        self._by_canonical.remove(known, canonical, size)

    def doubt(self, mapping: Mapping) -> None:
        """One that is tracked may be tracked no more."""
        self.add(mapping._replace(certain=False))
