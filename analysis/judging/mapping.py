"""The rows of faults on a shadow MMU: it is recorded what will be mapped, and then it is mapped."""

from __future__ import annotations

from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.findings import Finding
from nvscope.analysis.judging.records import is_as_seen
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.vm_state import MmuState, Region, view
from nvscope.analysis.model import rules
from nvscope.analysis.model.mappings import make_mapping
from nvscope.analysis.model.ranges import Entry

NO_OUTCOME = "the kernel does not say what a record did"


class Mapped:
    """Handles rows of these kinds."""

    def __init__(self, all_vms: AllVms) -> None:
        self._all_vms = all_vms
        self._sink = all_vms.sink
        self._judged = all_vms.sink.result.judged
        self._checks_records = all_vms.variant.revmap and all_vms.variant.modelled

    def record(self, row: Row) -> None:
        """A record is over."""
        mmu = self._all_vms.mmu(row)
        shadow = mmu.shadow
        if not self._checks_records:
            self._unexpected(row, mmu)
            return
        shadow.last_recorded = row.at
        if shadow.entries_doubt:
            self._sink.unjudged(shadow.entries_doubt, "conformance")
            return
        shadow.freed = False
        outcome, gone, new = rules.store(shadow, row.nested, row.canonical, row.size, row.at)
        seen = row.detail
        if seen == "unknown":
            seen = self._guessed(row, mmu, outcome)
        elif is_as_seen(shadow.skips, outcome, seen):
            self._judged["conformance"] += 1
        else:
            self._defer(row, mmu, outcome)
        # The entries become what the outcome says; see records.py for why not the model's.
        if seen == rules.FAILED or seen == rules.SKIPPED:
            gone, new = (), None
        mmu.records.calls.append((row, seen, gone, new, shadow.broken))
        if new is not None:
            shadow.replace(gone, new)
            if mmu.vm.lookup is not None and isinstance(new, Entry):
                mmu.vm.lookup.add(new.start, new.end, shadow.mmu)
        if seen == rules.FAILED:
            self._all_vms.broke.pop(row.tid, None)
            shadow.breaks(row.at)
        if mmu.records.deferred is not None and mmu.records.is_due:
            self._all_vms.settle(mmu)

    def map(self, row: Row) -> None:
        """Something is mapped, or was not to be."""
        if row.result != 0:
            return
        mmu = self._all_vms.mmu(row)
        shadow = mmu.shadow
        nested, canonical, size = row.nested, row.canonical, row.size
        if (
            self._checks_records
            and not shadow.entries_doubt
            and not rules.is_recorded(shadow, nested, canonical, size)
            and not self._all_vms.has_deferred(mmu)
        ):
            around = Region((canonical, canonical + size), (nested, nested + size))
            expected = "an entry that covers the mapping, recorded before it"
            self._sink.found("conformance", row.at, mmu, expected, "no such entry", around)
        shadow.make(make_mapping((nested, canonical, size, row.at, True)))

    def breaks(self, row: Row) -> None:
        """A record is failing, and will say so itself: it is known here which it is."""
        self._all_vms.broke[row.tid] = self._all_vms.mmu(row)

    def _unexpected(self, row: Row, mmu: MmuState) -> None:
        if self._all_vms.variant.modelled and not mmu.shadow.doubt:
            expected = "no record: there is no reverse map"
            around = Region((row.canonical, row.canonical + row.size))
            self._sink.found("conformance", row.at, mmu, expected, row.detail, around)

    def _guessed(self, row: Row, mmu: MmuState, outcome: str) -> str:
        self._sink.unjudged(NO_OUTCOME, "conformance")
        if mmu.shadow.skips:
            return rules.SKIPPED
        if self._all_vms.broke.pop(row.tid, None) is mmu:
            return rules.FAILED
        return rules.STORED if outcome == rules.EITHER else outcome

    def _defer(self, row: Row, mmu: MmuState, outcome: str) -> None:
        """This is not what should come out. Perhaps other calls explain it, at the same time."""
        if mmu.records.deferred is not None:
            self._judged["conformance"] += 1  # together with the one that is there
            return
        expected = rules.SKIPPED if mmu.shadow.skips else outcome
        state = view(mmu.shadow, Region((row.canonical, row.canonical + row.size)))
        event = self._sink.event(row.at)
        mmu.records.defer(Finding("conformance", row.at, event, 0, expected, row.detail, state))
        self._all_vms.defer(mmu)
