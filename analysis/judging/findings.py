"""What validation says: findings, verdicts, and what could not be judged."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nvscope.probes.traces.events import About, Event

# The five invariants -> what each says. `honesty` has no findings: it is the verdict "unknown".
INVARIANTS: Mapping[str, str] = {
    "safety": "when a notifier unmap is done, no shadow mapping leads into its range",
    "fallback": "a notifier unmaps all of an MMU if and only if its reverse map does not tell",
    "precision": "a ranged unmap covers no more than the entry that the notifier met",
    "conformance": "the kernel decides as the reference model does, event by event",
    "honesty": "what is not known is neither passed nor held against the kernel",
}

# Figures, of what notifiers unmapped, that may be known in part only.
OVER_UNMAP, FULL_UNMAPS = "over_unmap_ratio", "full_unmaps"
# All that it may be said of how well it is known.
SUBJECTS = ("safety", "fallback", "precision", "conformance", OVER_UNMAP, FULL_UNMAPS)

PASS, VIOLATION, UNKNOWN, NOT_JUDGED = "pass", "violation", "unknown", "not judged"


@dataclass(frozen=True)
class EntryView:
    """An entry of the reverse map; nested_ipa: None where the entry is of UNKNOWN_IPA."""

    canonical_ipa: int
    size: int
    nested_ipa: int | None


@dataclass(frozen=True)
class MappingView:
    """What an MMU maps; row: where the trace says so."""

    nested_ipa: int
    canonical_ipa: int
    size: int
    row: int


@dataclass(frozen=True)
class StateView:
    """The state of the MMU before the event, as far as it concerns the finding.

    hidden: how many more entries and mappings there are than are listed.
    """

    broken: bool = False
    full_unmaps: int = 0
    entries: tuple[EntryView, ...] = ()
    mappings: tuple[MappingView, ...] = ()
    hidden: int = 0


@dataclass
class Finding:
    """One violation. row: of the event in the trace, from 0. since: where its MMU was last empty.

    trace: the shortest sub-trace found that still shows it, with row numbers. note: "", or what
    kept that from being shorter.
    """

    invariant: str
    row: int
    event: Event
    mmu: int
    expected: str
    seen: str
    state: StateView
    since: int = 0
    trace: list[tuple[int, Event]] = field(default_factory=list)
    note: str = ""

    def place(self) -> tuple[int, int]:
        """Where it is in a trace; no other finding is there, too."""
        return self.row, self.mmu

    def is_like(self, other: Finding) -> bool:
        """Whether both are about the same event and say the same."""
        ours = (self.invariant, self.row, self.mmu, self.expected)
        return ours == (other.invariant, other.row, other.mmu, other.expected)


@dataclass(frozen=True)
class WideUnmap:
    """One within a notifier unmap that took more than had to go. row: where it ends.

    unmapped, unmapped_bytes: mappings that it took; needed, needed_bytes: those of them that led
    into the notifier's range. needed_by: the first of these; None: it was needed by none.
    """

    row: int
    kvm: int
    mmu: int
    full: bool
    nested_ipa: int
    size: int
    unmapped: int
    unmapped_bytes: int
    needed: int
    needed_bytes: int
    needed_by: MappingView | None


@dataclass
class Result:
    """All that is said of one trace.

    judged: invariant -> decisions that were judged. unjudged: why -> decisions that could not be.
    unknown: (one of SUBJECTS, why) -> what of it is not known. lacks: invariant -> why nobody can
    judge it by such a trace. blind: why nothing can be judged by this one; "": something can.
    violations: invariant -> how many; hidden: findings past the first MAX_FINDINGS. notes: what
    was left out where a text of another tool was read.

    full_unmaps, ranged_unmaps: within notifier unmaps, by when they began; needed_unmaps,
    needless_unmaps: of those that ended, for sure. unmapped, unmapped_bytes: mappings that they
    took; needed, needed_bytes: those that led into the notifiers' ranges. wide_unmaps: the first
    MAX_WIDE that took more than had to go; all others were needed by what they took.
    """

    about: About
    variant: str
    rows: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)
    lacks: dict[str, str] = field(default_factory=dict)
    blind: str = ""
    findings: list[Finding] = field(default_factory=list)
    violations: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    notifiers: int = 0
    full_unmaps: int = 0
    ranged_unmaps: int = 0
    needed_unmaps: int = 0
    needless_unmaps: int = 0
    unmapped: int = 0
    unmapped_bytes: int = 0
    needed: int = 0
    needed_bytes: int = 0
    wide_unmaps: list[WideUnmap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, finding: Finding) -> None:
        """Note a violation. The first by row are kept, in whichever order they come."""
        self.violations[finding.invariant] += 1
        bisect.insort(self.findings, finding, key=Finding.place)
        self._hide()

    def take_wide(self, unmap: WideUnmap) -> None:
        """Note an unmap that took more than had to go; they come in the order of their rows."""
        if len(self.wide_unmaps) < MAX_WIDE:
            self.wide_unmaps.append(unmap)

    @property
    def verdict(self) -> str:
        """VIOLATION if anything was found, else UNKNOWN if anything is not known, else PASS."""
        if self.findings:
            return VIOLATION
        return UNKNOWN if self.unjudged or not self.judged else PASS

    @property
    def over_unmap_ratio(self) -> float | None:
        """unmapped_bytes / needed_bytes; None where nothing had to go."""
        return self.unmapped_bytes / self.needed_bytes if self.needed_bytes else None

    def add(self, other: Result) -> None:
        """Take in what was said of other VMs of the same trace."""
        self.rows = max(self.rows, other.rows)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings = sorted(self.findings + other.findings, key=Finding.place)
        wide = sorted(self.wide_unmaps + other.wide_unmaps, key=lambda unmap: unmap.row)
        self.wide_unmaps = wide[:MAX_WIDE]
        self.lacks, self.blind = self.lacks or other.lacks, self.blind or other.blind
        self._hide()
        self.notes += [note for note in other.notes if note not in self.notes]

    def _hide(self) -> None:
        self.hidden += len(self.findings[MAX_FINDINGS:])
        del self.findings[MAX_FINDINGS:]


MAX_FINDINGS = 100
MAX_WIDE = 20
# Of results of different VMs these add up.
_SUMS = (
    *("judged", "unjudged", "unknown", "violations", "hidden", "notifiers", "full_unmaps"),
    *("ranged_unmaps", "needed_unmaps", "needless_unmaps", "unmapped", "unmapped_bytes"),
    *("needed", "needed_bytes"),
)
