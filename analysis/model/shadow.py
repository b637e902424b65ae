"""The state of one shadow MMU, and how it changes. What should come is for `rules` to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nvscope.analysis.model.mappings import Mapping, Mappings
from nvscope.analysis.model.ranges import Entry, Ranges

NEVER = -1  # a row before the first


@dataclass(eq=False, slots=True)
class Unmap:
    """An unmap of the nested range [start, end) that is under way since row `began`."""

    began: int
    start: int
    end: int
    full: bool


@dataclass(eq=False, slots=True)
class Shadow:
    """One shadow MMU.

    entries: its reverse map. broken: entries may be missing, since the row broken_since. mappings:
    its page tables. unmaps: what is under way of it; of several, each by another task. used:
    something was mapped since it was made. freed: its page tables were, and nothing came since.

    entries_doubt, mappings_doubt, unmaps_doubt: why the respective state is not known; "": it is.
    doubted: the row since which it is not.
    """

    mmu: int
    entries: Ranges = field(default_factory=Ranges)
    mappings: Mappings = field(default_factory=Mappings)
    broken: bool = False
    broken_since: int = NEVER
    unmaps: list[Unmap] = field(default_factory=list)
    used: bool = False
    freed: bool = False
    last_made: int = NEVER
    entries_doubt: str = ""
    mappings_doubt: str = ""
    unmaps_doubt: str = ""
    doubted: int = NEVER

    @property
    def doubt(self) -> str:
        """Why not all of the state is known; "" where it is."""
        return self.entries_doubt or self.mappings_doubt

    @property
    def full_unmaps(self) -> int:
        """How many full unmaps are under way, kvm_s2_mmu::nested_full_unmaps."""
        return sum(unmap.full for unmap in self.unmaps)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is mapped and nothing recorded, for sure."""
        return not (self.doubt or self.unmaps or self.entries or self.mappings or self.broken)

    def distrust(self, why: str, row: int) -> None:
        """Neither entries nor mappings are known, from that row on to the next full unmap."""
        self.distrust_entries(why)
        self.mappings_doubt = why
        self.doubted = row

    def distrust_entries(self, why: str) -> None:
        """The reverse map is not known, up to the next full unmap."""
        self.entries_doubt = why
        self.entries.clear()
        self.broken = False

    def lose_track(self, why: str, row: int) -> None:
        """Nothing is known, not even which unmaps are under way."""
        self.distrust(why, row)
        self.unmaps_doubt = why
        self.mappings.clear()
        self.unmaps.clear()

    def free(self) -> None:
        """kvm_free_stage2_pgd(): the page tables go, and the reverse map with them."""
        self.empty_revmap()
        self.mappings.clear()
        self.mappings_doubt = ""
        self.used = False
        self.freed = True

    def replace(self, gone: Iterable[Entry], new: Entry | None) -> None:
        """Change entries: kvm_nested_revmap_store()."""
        for entry in gone:
            self.entries.remove(entry)
        if new is not None:
            self.entries.add(new)

    def breaks(self, row: int) -> None:
        """The reverse map is not to be relied on: kvm_nested_revmap_break()."""
        if not self.broken:
            self.broken, self.broken_since = True, row

    def empty_revmap(self) -> None:
        """kvm_nested_revmap_reset()."""
        self.entries.clear()
        self.broken = False
        self.entries_doubt = ""

    def make(self, mapping: Mapping) -> None:
        """Something is mapped."""
        self.mappings.make(mapping, anew=bool(self.unmaps))
        self.last_made = mapping.made
        self.used = True
        self.freed = False

    def begin_unmap(self, unmap: Unmap) -> None:
        """An unmap begins; one of everything empties the reverse map before all else."""
        if unmap.full:
            self.empty_revmap()
        self.unmaps.append(unmap)

    def end_unmap(self, unmap: Unmap) -> list[Mapping]:
        """An unmap ends; returns what is gone for sure.

        What was made while it was under way may have come before it reached there, or after.
        """
        self.unmaps.remove(unmap)
        if unmap.full and not self.mappings_doubt and self.last_made < unmap.began:
            gone = list(self.mappings)
            self.mappings.clear()
            return gone
        if unmap.full:
            gone = list(self.mappings)
        else:
            gone = self.mappings.mapped_in(unmap.start, unmap.end)
        if self.last_made > unmap.began:
            for mapping in gone:
                if mapping.made > unmap.began:
                    self.mappings.doubt(mapping)
            gone = [mapping for mapping in gone if mapping.made < unmap.began]
        for mapping in gone:
            self.mappings.remove(mapping)
        if unmap.full and unmap.began >= self.doubted:
            self.mappings_doubt = ""
        return gone

    def is_certain(self, mapping: Mapping) -> bool:
        """Whether a mapping is there for sure: no unmap that is under way may have reached it."""
        return mapping.certain and not any(
            unmap.start < mapping.nested + mapping.size and mapping.nested < unmap.end
            for unmap in self.unmaps
        )
