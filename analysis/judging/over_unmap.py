"""What an unmap within a notifier took, and what of it had to go: the only place that says so.

Leaves of page tables go whole. So what had to go are the mappings that lead into the notifier's
range, whole, however little of them does; and an unmap took the mappings that its nested range
touches, whole. The rest is over-unmapped. (The compiled loop does this sum in arrays.)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from nvscope.analysis.model.mappings import Mapping


class Taken(NamedTuple):
    """How many mappings an unmap took, and of how many bytes; needed: those that had to go.

    needed_by: the first of these, by nested IPA; None: it was needed by none.
    """

    unmapped: int
    unmapped_bytes: int
    needed: int
    needed_bytes: int
    needed_by: Mapping | None

    @property
    def is_wide(self) -> bool:
        """Whether it took more than had to go, or was not needed at all."""
        return self.needed == 0 or self.needed_bytes < self.unmapped_bytes


def taken(gone: Collection[Mapping], start: int, end: int) -> Taken:
    """Of the mappings that are gone, with a notifier's canonical range [start, end).

    >>> block, page = Mapping(0, 0x200000, 0x200000, 1), Mapping(0x400000, 0, 0x1000, 2)
    >>> taken([block, page], 0x201000, 0x202000)[:4]
    (2, 2101248, 1, 2097152)
    """
    sizes = [mapping.size for mapping in gone]
    needed = [m for m in gone if m.canonical < end and start < m.canonical + m.size]
    needed_bytes = sum([mapping.size for mapping in needed])
    return Taken(len(sizes), sum(sizes), len(needed), needed_bytes, min(needed, default=None))
