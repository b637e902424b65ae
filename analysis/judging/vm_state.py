"""VMs and their shadow MMUs while a trace runs through the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nvscope.analysis.judging.findings import EntryView, Finding, MappingView, Result, StateView
from nvscope.analysis.judging.records import Records
from nvscope.analysis.model.lookup import Lookup
from nvscope.analysis.model.rules import UNKNOWN_IPA, nested_ipa, tracked
from nvscope.analysis.model.shadow import NEVER, Shadow
from nvscope.probes.traces.events import Event

# Why something cannot be judged.
BEFORE = "mapped before the trace began"
OTHER_MMUS = "the VM ran before the trace began: MMUs that it does not show may map something"
AFTER_LOSS = "events were lost"
NOT_NESTED = "ends and begins do not match: rows are missing"
AFTER_FINDING = "follows a violation, until the MMU's next full unmap"

_SHOWN = 8  # entries and mappings of a state; the rest is counted


@dataclass(eq=False, slots=True)
class MmuState:
    """A shadow MMU. since: the row where it was last known to be empty."""

    vm: Vm
    shadow: Shadow
    since: int
    records: Records = field(default_factory=Records)

    def distrust(self, why: str, row: int) -> None:
        """What is known of it is known no more, until its next full unmap."""
        self.forget_entries()
        self.shadow.distrust(why, row)

    def distrust_entries(self, why: str) -> None:
        """The same of its reverse map alone: what is mapped can be told without it."""
        self.forget_entries()
        self.shadow.distrust_entries(why)

    def lose_track(self, why: str, row: int) -> None:
        """As Shadow.lose_track."""
        self.forget_entries()
        self.shadow.lose_track(why, row)
        self.records.forget()

    def forget_entries(self) -> None:
        """Its reverse map is about to be emptied: the VM's lookup has to know, if it has one."""
        if self.vm.lookup is not None:
            gone = list(self.shadow.entries)
            self.shadow.entries.clear()
            self.vm.lookup.forget(gone, self.shadow.entries, self.shadow.mmu)


@dataclass(eq=False, slots=True)
class Vm:
    """One VM. doubt: why there may be MMUs that the trace does not show; "": there are none.

    since: the row where it began. barrier: the last row with mmu_lock held for write.
    """

    kvm: int
    pid: int
    doubt: str
    mmus: dict[int, MmuState] = field(default_factory=dict)
    lookup: Lookup | None = None
    since: int = 0
    barrier: int = NEVER


class ResultSink:
    """Where judgements go. event: row number -> the row, whole, of the rows at hand."""

    def __init__(self, result: Result, event: Callable[[int], Event]) -> None:
        self.result = result
        self.event = event

    def judged(self, invariant: str) -> None:
        """A decision was compared."""
        self.result.judged[invariant] += 1

    def unjudged(self, why: str, *subjects: str) -> None:
        """A decision could not be judged. subjects: the invariants and figures it is about."""
        self.result.unjudged[why] += 1
        self.inexact(why, *subjects)

    def unjudged_ends(self, doubt: str, ends: int = 1) -> None:
        """So many notifier unmaps ended of a VM that may have MMUs which are not known."""
        self.result.unjudged[doubt] += ends
        for invariant in ("safety", "fallback"):
            self.result.unknown[invariant, doubt] += ends

    def inexact(self, why: str, *subjects: str) -> None:
        """Of these not all is known; no decision has gone unjudged for that."""
        for subject in subjects:
            self.result.unknown[subject, why] += 1

    def found(
        self, invariant: str, row: int, mmu: MmuState, expected: str, seen: str, around: Region
    ) -> None:
        """A violation; what the MMU decides until its next full unmap follows from it."""
        state = view(mmu.shadow, around)
        self.report(mmu, Finding(invariant, row, self.event(row), 0, expected, seen, state))

    def report(self, mmu: MmuState, finding: Finding) -> None:
        """The same, with a finding that was made out before."""
        finding.mmu, finding.since = mmu.shadow.mmu, mmu.since
        self.judged(finding.invariant)
        self.result.take(finding)
        if finding.invariant == "safety":
            mmu.distrust(AFTER_FINDING, finding.row)
        else:
            mmu.distrust_entries(AFTER_FINDING)


@dataclass(frozen=True)
class Region:
    """What of an MMU's state concerns a finding: a canonical range, a nested one, or both."""

    canonical: tuple[int, int] = (0, 0)
    nested: tuple[int, int] = (0, 0)


def view(shadow: Shadow, around: Region) -> StateView:
    """The state around there."""
    entries = shadow.entries.overlapping(*around.canonical) + tracked(shadow, *around.canonical)
    mappings = {m.nested: m for m in shadow.mappings.leading_into(*around.canonical)}
    mappings |= {m.nested: m for m in shadow.mappings.mapped_in(*around.nested)}
    known = [mappings[nested] for nested in sorted(mappings)]
    return StateView(
        broken=shadow.broken,
        full_unmaps=shadow.full_unmaps,
        entries=tuple(
            EntryView(e.start, e.end - e.start, None if e.value == UNKNOWN_IPA else nested_ipa(e))
            for e in entries[:_SHOWN]
        ),
        mappings=tuple(MappingView(m.nested, m.canonical, m.size, m.made) for m in known[:_SHOWN]),
        hidden=max(len(entries) - _SHOWN, 0) + max(len(known) - _SHOWN, 0),
    )
