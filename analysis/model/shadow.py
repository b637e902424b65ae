"""The state of one shadow MMU, and how it changes. What should come is for `rules` to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nvscope.analysis.model.mappings import Mapping, Mappings
from nvscope.analysis.model.ranges import Entry, Ranges
from nvscope.analysis.model.tracked import Tracked

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

    entries: its reverse map; or tracked, where the kernel tracks mappings. broken: entries may be
    missing, since the row broken_since; lost: of several that are, the last's row. mappings: its
    page tables. unmaps: what is under way of it; of several, each by another task. used:
    something was mapped since it was made. freed: its page tables were, and nothing came since.

    entries_doubt, mappings_doubt, unmaps_doubt: why the respective state is not known; "": it is.
    doubted: the row since which it is not.
    """

    mmu: int
    entries: Ranges = field(default_factory=Ranges)
    mappings: Mappings = field(default_factory=Mappings)
    tracked: Tracked | None = None
    broken: bool = False
    broken_since: int = NEVER
    lost: int = NEVER
    unmaps: list[Unmap] = field(default_factory=list)
    used: bool = False
    freed: bool = False
    last_made: int = NEVER
    last_recorded: int = NEVER
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
        known = self.entries or self.tracked or self.mappings
        return not (self.doubt or self.unmaps or known or self.broken)

    @property
    def skips(self) -> bool:
        """Whether a record does nothing: tracking goes on when something was lost."""
        return self.broken and self.tracked is None

    def distrust(self, why: str, row: int) -> None:
        """Neither entries nor mappings are known, from that row on to the next full unmap."""
        self.distrust_entries(why)
        self.mappings_doubt = why
        self.doubted = row

    def distrust_entries(self, why: str) -> None:
        """The reverse map is not known, up to the next full unmap."""
        self.entries_doubt = why
        self._forget()

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

    def replace(self, gone: Iterable[Entry | Mapping], new: Entry | Mapping | None) -> None:
        """Change entries: kvm_nested_revmap_store(), kvm_guest_s2_add()."""
        of: Any = self.entries if self.tracked is None else self.tracked
        for entry in gone:
            of.remove(entry)
        if new is not None:
            of.add(new)

    def breaks(self, row: int) -> None:
        """The reverse map lacks something: kvm_nested_revmap_break(), kvm_guest_s2_lose()."""
        self.lost = row
        if not self.broken:
            self.broken, self.broken_since = True, row

    def empty_revmap(self) -> None:
        """kvm_nested_revmap_reset(), kvm_guest_s2_reset()."""
        self._forget()
        self.entries_doubt = ""

    def _forget(self) -> None:
        self.entries.clear()
        if self.tracked is not None:
            self.tracked.clear()
        self.broken = False

    def make(self, mapping: Mapping) -> None:
        """Something is mapped."""
        self.mappings.make(mapping, anew=bool(self.unmaps))
        self.last_made = mapping.made
        self.used = True
        self.freed = False

    def begin_unmap(self, unmap: Unmap) -> None:
        """An unmap begins; one of everything empties the reverse map before all else.

        What is tracked goes step by step instead, with what is mapped.
        """
        if unmap.full and self.tracked is None:
            self.empty_revmap()
        self.unmaps.append(unmap)

    def end_unmap(self, unmap: Unmap) -> list[Mapping]:
        """An unmap ends; returns what is gone for sure.

        What was made while it was under way may have come before it reached there, or after.
        """
        self.unmaps.remove(unmap)
        self._untrack(unmap)
        start, end, full = unmap.start, unmap.end, unmap.full
        if self.last_made < unmap.began:
            gone = self.mappings.take(start, end, full=full)
        else:
            gone = []
            for mapping in self.mappings.taken_by(start, end, full=full):
                if mapping.made < unmap.began:
                    self.mappings.remove(mapping)
                    gone.append(mapping)
                else:
                    self.mappings.doubt(mapping)
        if unmap.full and unmap.began >= self.doubted:
            self.mappings_doubt = ""
        return gone

    def _untrack(self, unmap: Unmap) -> None:
        """An unmap has ended; what was recorded meanwhile may have come after it, or before."""
        if self.tracked is None:
            return
        for mapping in self.tracked.mapped_in(unmap.start, unmap.end):
            if mapping.made < unmap.began:
                self.tracked.remove(mapping)
            else:
                self.tracked.doubt(mapping)
        if unmap.full and self.lost < unmap.began:
            self.broken = False
        if unmap.full and max(self.doubted, self.last_recorded) < unmap.began:
            self.entries_doubt = ""

    def is_certain(self, mapping: Mapping) -> bool:
        """Whether it is there, or tracked, for sure: no unmap that is under way may have met it."""
        return mapping.certain and not any(
            unmap.start < mapping.nested + mapping.size and mapping.nested < unmap.end
            for unmap in self.unmaps
        )
