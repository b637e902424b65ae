"""The rows of faults on a shadow MMU: it is recorded what will be mapped, and then it is mapped."""

from __future__ import annotations

from nvscope.analysis.judging.findings import Finding
from nvscope.analysis.judging.records import is_as_seen
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.watched import Around, Watched, view
from nvscope.analysis.judging.world import World
from nvscope.analysis.model import rules
from nvscope.analysis.model.mappings import make_mapping
from nvscope.analysis.model.ranges import Entry

NO_OUTCOME = "the kernel does not say what a record did"


class Mapped:
    """Handles rows of these kinds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._book = world.book
        self._judged = world.book.result.judged
        self._checks_records = world.variant.revmap and world.variant.modelled

    def record(self, row: Row) -> None:
        """A record is over."""
        mmu = self._world.mmu(row)
        shadow = mmu.shadow
        if not self._checks_records:
            self._unexpected(row, mmu)
            return
        shadow.last_recorded = row.at
        if shadow.entries_doubt:
            self._book.unjudged(shadow.entries_doubt, "conformance")
            return
        shadow.freed = False
        outcome, gone, new = rules.store(shadow, row.nested, row.canonical, row.size, row.at)
        seen = row.detail
        if seen == "unknown":
            seen = self._guessed(row, mmu, outcome)
        elif is_as_seen(shadow.skips, outcome, seen):
            self._judged["conformance"] += 1
        else:
            self._wonder(row, mmu, outcome)
        # The entries become what the outcome says; see records.py for why not the model's.
        if seen == rules.FAILED or seen == rules.SKIPPED:
            gone, new = (), None
        mmu.records.calls.append((row, seen, gone, new, shadow.broken))
        if new is not None:
            shadow.replace(gone, new)
            if mmu.vm.lookup is not None and isinstance(new, Entry):
                mmu.vm.lookup.add(new.start, new.end, shadow.mmu)
        if seen == rules.FAILED:
            self._world.broke.pop(row.tid, None)
            shadow.breaks(row.at)
        if mmu.records.puzzle is not None and mmu.records.is_due:
            self._world.solve(mmu)

    def map(self, row: Row) -> None:
        """Something is mapped, or was not to be."""
        if row.result != 0:
            return
        mmu = self._world.mmu(row)
        shadow = mmu.shadow
        nested, canonical, size = row.nested, row.canonical, row.size
        if (
            self._checks_records
            and not shadow.entries_doubt
            and not rules.is_recorded(shadow, nested, canonical, size)
            and not self._world.is_puzzled(mmu)
        ):
            around = Around((canonical, canonical + size), (nested, nested + size))
            expected = "an entry that covers the mapping, recorded before it"
            self._book.found("conformance", row.at, mmu, expected, "no such entry", around)
        shadow.make(make_mapping((nested, canonical, size, row.at, True)))

    def breaks(self, row: Row) -> None:
        """A record is failing, and will say so itself: it is known here which it is."""
        self._world.broke[row.tid] = self._world.mmu(row)

    def _unexpected(self, row: Row, mmu: Watched) -> None:
        if self._world.variant.modelled and not mmu.shadow.doubt:
            expected = "no record: there is no reverse map"
            around = Around((row.canonical, row.canonical + row.size))
            self._book.found("conformance", row.at, mmu, expected, row.detail, around)

    def _guessed(self, row: Row, mmu: Watched, outcome: str) -> str:
        self._book.unjudged(NO_OUTCOME, "conformance")
        if mmu.shadow.skips:
            return rules.SKIPPED
        if self._world.broke.pop(row.tid, None) is mmu:
            return rules.FAILED
        return rules.STORED if outcome == rules.EITHER else outcome

    def _wonder(self, row: Row, mmu: Watched, outcome: str) -> None:
        """This is not what should come out. Perhaps other calls explain it, at the same time."""
        if mmu.records.puzzle is not None:
            self._judged["conformance"] += 1  # together with the one that is there
            return
        expected = rules.SKIPPED if mmu.shadow.skips else outcome
        state = view(mmu.shadow, Around((row.canonical, row.canonical + row.size)))
        event = self._book.event(row.at)
        mmu.records.wonder(Finding("conformance", row.at, event, 0, expected, row.detail, state))
        self._world.puzzle(mmu)
