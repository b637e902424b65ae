"""A kernel with the lab's reverse map, in a few lines: it maps, unmaps, and emits a trace of it.

It shares nothing with the reference model. Page tables are kept page by page, for the pages of
`PAGES` alone (every range used here holds some of them), and the reverse map as a plain list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nvscope.probes.traces.events import Event

PAGE, BLOCK, HUGE = 1 << 12, 1 << 21, 1 << 30
TOP = 1 << 52
# Where things are mapped: the first pages of some blocks, at the bottom and the top.
_BLOCKS = [g * HUGE + b * BLOCK for g in (0, 1, (TOP >> 30) - 1) for b in (0, 1, 511)]
PAGES = [block + page * PAGE for block in _BLOCKS for page in (0, 1, 2)]
SIZES = (PAGE, BLOCK, HUGE)

Gap = Callable[[], None]


def no_gap() -> None:
    """Nothing happens while mmu_lock is dropped."""


@dataclass(eq=False)
class Block:
    """One leaf of the page tables."""

    nested: int
    canonical: int
    size: int


@dataclass(eq=False)
class Mmu:
    """A shadow MMU. pages: nested page -> the leaf that maps it. revmap: [start, end, nested].

    tracked: [nested, canonical, size], where that is how the kernel does it; lost: how many are
    not, of which so many are mended.
    """

    address: int
    pages: dict[int, Block] = field(default_factory=dict)
    revmap: list[tuple[int, int, int | None]] = field(default_factory=list)
    broken: bool = False
    full_unmaps: int = 0
    used: bool = False
    tracks: bool = False
    tracked: list[tuple[int, int, int]] = field(default_factory=list)
    lost: int = 0
    mended: int = 0

    def canonical_pages(self) -> dict[int, int]:
        """nested page -> canonical page."""
        return {page: block.canonical + page - block.nested for page, block in self.pages.items()}

    def map(self, nested: int, canonical: int, size: int) -> None:
        self.clear(nested, size)
        block = Block(nested, canonical, size)
        self.pages |= {page: block for page in PAGES if nested <= page < nested + size}
        self.used = True

    def unmap(self, nested: int, size: int) -> None:
        self.clear(nested, size)
        self.tracked = [t for t in self.tracked if t[0] + t[2] <= nested or nested + size <= t[0]]

    def clear(self, nested: int, size: int) -> None:
        """Leaves go whole. What one replaced stays tracked."""
        hit = {id(b) for page, b in self.pages.items() if nested <= page < nested + size}
        self.pages = {page: b for page, b in self.pages.items() if id(b) not in hit}

    def track(self, nested: int, canonical: int, size: int, fails: bool) -> str:
        if (nested, canonical, size) in self.tracked:
            return "unchanged"
        if fails:
            self.lost += 1
            self.broken = True
            return "failed"
        self.tracked.append((nested, canonical, size))
        return "stored"

    def first(self, start: int, end: int) -> tuple[int, int, int | None] | None:
        return min((e for e in self.revmap if e[0] < end and start < e[1]), default=None)

    def record(self, nested: int, canonical: int, size: int, fails: bool) -> str:
        if self.tracks:
            return self.track(nested, canonical, size, fails)
        if self.broken:
            return "skipped"
        start, end = canonical, canonical + size
        over = [e for e in self.revmap if e[0] < end and start < e[1]]
        if over == [(start, end, nested)]:
            return "unchanged"
        if len(over) == 1 and over[0][2] is None and over[0][0] <= start and end <= over[0][1]:
            return "unchanged"
        if fails:
            self.broken = True
            return "failed"
        new = (min(e[0] for e in [*over, (start,)]), max(e[1] for e in [*over, (0, end)]), None)
        self.revmap = [e for e in self.revmap if e not in over]
        self.revmap.append(new if over else (start, end, nested))
        return "overlapped" if over else "stored"


class Kernel:
    """Emits `events`. revmap: "none", "maple-v2", "maple-v3" or "tracking"."""

    def __init__(self, revmap: str = "maple-v2") -> None:
        self.revmap = revmap
        self.events: list[Event] = []
        self.vms: dict[int, dict[int, Mmu]] = {}
        self._now = 1000

    def emit(self, kind: str, kvm: int, **values: int | str | bool) -> Event:
        self._now += 100
        event = Event(kind, time_ns=self._now, kvm=kvm, pid=kvm & 0xFFF, comm="sim", **values)  # type: ignore[arg-type]
        self.events.append(event)
        return event

    def start_vm(self, kvm: int) -> None:
        self.vms[kvm] = {}
        self.emit("mmu_init", kvm)

    def add_mmu(self, kvm: int, mmu: int) -> Mmu:
        self.vms[kvm][mmu] = made = Mmu(mmu, tracks=self.revmap == "tracking")
        self.emit("mmu_init", kvm, mmu=mmu)
        return made

    def end_vm(self, kvm: int) -> None:
        for mmu in list(self.vms[kvm]):
            self.free(kvm, mmu)
        self.emit("vm_exit", kvm)
        del self.vms[kvm]

    def free(self, kvm: int, mmu: int) -> None:
        self.emit("mmu_free", kvm, mmu=mmu)
        it = self.vms[kvm][mmu]
        it.pages.clear()
        it.revmap.clear()
        it.tracked.clear()
        it.mended = it.lost
        it.broken = it.used = False

    # Faults.

    def fault(
        self, kvm: int, mmu: int, nested: int, canonical: int, size: int, **how: bool | int
    ) -> None:
        """how: fails (the store), tid, result (of the map)."""
        tid = int(how.get("tid", 1))
        where = {"mmu": mmu, "nested_ipa": nested, "canonical_ipa": canonical, "size": size}
        it = self.vms[kvm][mmu]
        if self.revmap != "none":
            was = it.broken
            outcome = it.record(nested, canonical, size, bool(how.get("fails")))
            if it.broken and ((it.tracks and outcome == "failed") or not was):
                self.emit("broken", kvm, tid=tid, mmu=mmu)
            self.emit("record", kvm, tid=tid, detail=outcome, duration_ns=90, **where)
        result = int(how.get("result", 0))
        if result == 0:
            it.map(nested, canonical, size)
        self.emit("map", kvm, tid=tid, result=result, **where)
        self.emit("fault", kvm, tid=tid, mmu=mmu, nested_ipa=nested, result=result)

    def faults_at_once(self, kvm: int, mmu: int, wanted: list[tuple[int, int, int, bool]]) -> None:
        """Several tasks record at the same time; the rows come in the reverse of the true order."""
        it, began = self.vms[kvm][mmu], self._now + 1
        rows = []
        for tid, (nested, canonical, size, fails) in enumerate(wanted, 100):
            where = {"mmu": mmu, "nested_ipa": nested, "canonical_ipa": canonical, "size": size}
            was = it.broken
            outcome = it.record(nested, canonical, size, fails)
            if it.broken and ((it.tracks and outcome == "failed") or not was):
                self.emit("broken", kvm, tid=tid, mmu=mmu)
            rows.append((tid, outcome, where))
        for tid, outcome, where in reversed(rows):
            took = self._now + 100 - began
            self.emit("record", kvm, tid=tid, detail=outcome, duration_ns=took, **where)
        for tid, _, where in rows:
            it.map(where["nested_ipa"], where["canonical_ipa"], where["size"])
            self.emit("map", kvm, tid=tid, **where)

    # Unmaps.

    def unmap(self, kvm: int, mmu: int, nested: int, size: int, why: str, tid: int) -> None:
        """One that does not drop the lock."""
        where = {"tid": tid, "mmu": mmu, "nested_ipa": nested, "size": size, "detail": why}
        self.emit("unmap_begin", kvm, **where)
        self.vms[kvm][mmu].unmap(nested, size)
        self.emit("unmap_end", kvm, duration_ns=50, **where)

    def unmap_all(
        self, kvm: int, mmu: int, why: str, tid: int, gap: Gap = no_gap, sweep: int = TOP
    ) -> None:
        """A full unmap; it drops the lock when it has come as far as `sweep`."""
        it = self.vms[kvm][mmu]
        where = {"tid": tid, "mmu": mmu, "size": TOP, "detail": why, "full": True}
        it.revmap.clear()
        it.broken = it.broken and it.tracks
        it.full_unmaps += 1
        lost = it.lost
        self.emit("unmap_begin", kvm, **where)
        it.unmap(0, sweep)
        gap()
        it.unmap(sweep, TOP)
        it.full_unmaps -= 1
        if it.tracks:
            it.mended = max(it.mended, lost)
            it.broken = it.lost != it.mended
        self.emit("unmap_end", kvm, duration_ns=50, **where)

    def tlbi(self, kvm: int, mmu: int, nested: int, size: int, tid: int = 2) -> None:
        it = self.vms[kvm][mmu]
        self.unmap(kvm, mmu, nested, size, "tlbi", tid)
        if self.revmap == "maple-v3":
            it.revmap = [
                e
                for e in it.revmap
                if e[2] is None or e[2] + e[1] - e[0] <= nested or nested + size <= e[2]
            ]

    def recycle(
        self, kvm: int, mmu: int, gap: Gap = no_gap, sweep: int = TOP, tid: int = 3
    ) -> None:
        self.emit("mmu_recycle", kvm, tid=tid, mmu=mmu, nested_ipa=0xBADD)
        self.unmap_all(kvm, mmu, "recycling", tid, gap, sweep)

    def notifier(
        self, kvm: int, canonical: int, size: int, tid: int = 9, gap: Gap = no_gap, **how: bool
    ) -> None:
        """how: erase_fails. gap: what happens each time the lock is dropped."""
        where = {"tid": tid, "canonical_ipa": canonical, "size": size, "may_block": True}
        self.emit("notifier_begin", kvm, **where)
        for it in list(self.vms[kvm].values()):
            if self.revmap == "none":
                if it.used:
                    self.unmap_all(kvm, it.address, "notifier", tid)
            elif it.tracks:
                self._unmap_tracked(kvm, it, canonical, canonical + size, tid, gap)
            else:
                self._unmap_entries(kvm, it, canonical, canonical + size, tid, gap, **how)
            gap()
        self.emit("notifier_end", kvm, duration_ns=500, **where)

    def _fall_back(self, kvm: int, it: Mmu, why: str, tid: int, gap: Gap) -> None:
        self.emit("fallback", kvm, tid=tid, mmu=it.address, detail=why)
        self.unmap_all(kvm, it.address, "notifier", tid, gap, HUGE)

    def _unmap_tracked(self, kvm: int, it: Mmu, start: int, end: int, tid: int, gap: Gap) -> None:
        while not it.broken:
            there = [t for t in it.tracked if t[1] < end and start < t[1] + t[2]]
            if not there:
                return
            nested, _, size = there[-1]
            self.unmap(kvm, it.address, nested, size, "notifier", tid)
            gap()
        self._fall_back(kvm, it, "broken", tid, gap)

    def _unmap_entries(
        self, kvm: int, it: Mmu, start: int, end: int, tid: int, gap: Gap, **how: bool
    ) -> None:
        if it.broken:
            return self._fall_back(kvm, it, "broken", tid, gap)
        while start < end:
            if it.full_unmaps:
                return self._fall_back(kvm, it, "raced", tid, gap)
            entry = it.first(start, end)
            if entry is None:
                return None
            if entry[2] is None:
                return self._fall_back(kvm, it, "unknown_ipa", tid, gap)
            self.unmap(kvm, it.address, entry[2], entry[1] - entry[0], "notifier", tid)
            if how.get("erase_fails"):
                if not it.broken:
                    it.broken = True
                    self.emit("broken", kvm, tid=tid, mmu=it.address)
            else:
                it.revmap.remove(entry)
            start = entry[1]
            gap()
        return None
