"""What the BPF programs have counted since they were attached: plain data, no BPF.

The kernel side of each class is a key and a value struct in bpf/nvscope.h;
tests/unit/probes/counts/test_layout.py holds the mirrors against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# Slot i of a histogram counts durations d with 2**(i-1) <= d < 2**i, in ns
# (slot 0: d == 0); the last slot also holds all that is longer.
SLOTS = 40


@dataclass(frozen=True)
class VmKey:
    """One VM of this host: its `struct kvm *`, and `kvm->userspace_pid` (a thread id)."""

    kvm: int
    pid: int


@dataclass(frozen=True)
class Durations:
    """A log2 histogram of durations: sum_ns in nanoseconds, slots: SLOTS counts."""

    count: int
    sum_ns: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class NotifierUnmaps:
    """Calls of the MMU notifier's kvm_unmap_gfn_range for one VM.

    trigger: who caused them, one of decode.TRIGGERS; "" where that was not asked.
    """

    vm: VmKey
    durations: Durations
    trigger: str = ""


@dataclass(frozen=True)
class S2Faults:
    """Stage-2 faults of one VM; stage: "canonical" | "shadow", result: "ok" | "error".

    refault: those that bring back what notifier unmaps took from the same shadow MMU. A full one
    takes as many mappings as there were faults since the MMU was last emptied, a ranged one takes
    one; that many of the next faults are refaults, whatever their nested IPA: an upper bound.
    """

    vm: VmKey
    stage: str
    result: str
    durations: Durations
    refault: bool = False


@dataclass(frozen=True)
class ShadowUnmaps:
    """Unmaps of shadow stage-2 MMUs of one VM.

    scope: "full" | "ranged"; within: "notifier" | "tlbi" | "recycling" | "other", or "unknown"
    where notifier_unmap is not attached; size_bytes: sum of the sizes asked for (a full one asks
    for the whole IPA space, 2**48 or 2**52, so that this soon exceeds 64 bits); reason: why a
    notifier unmap fell back from the reverse map to a full one, "broken" | "unknown_ipa" | "raced"
    | "unknown", or "none": it was no fallback; trigger: as of NotifierUnmaps.
    """

    vm: VmKey
    scope: str
    within: str
    size_bytes: int
    durations: Durations
    reason: str = "none"
    trigger: str = ""

    def why_full(self, revmap: str) -> str:
        """Why it was full: "no_revmap", a fallback's reason, or "none"; revmap: the host's.

        A full one in a notifier unmap has a reason in any case: "unknown" where the kernel's
        reverse map does not tell.
        """
        if self.scope != "full" or self.within != "notifier":
            return "none"
        if revmap == "none":
            return "no_revmap"
        return "unknown" if self.reason == "none" else self.reason


@dataclass(frozen=True)
class RevmapRecords:
    """Shadow mappings noted in one VM's reverse maps.

    outcome: "stored" | "unchanged" | "overlapped" | "failed" | "skipped" (the map was broken) |
    "unknown" (this kernel does not say). durations: how long that took, where a one-shot probe
    asks for it, else all are of 0 ns.
    """

    vm: VmKey
    outcome: str
    durations: Durations

    @property
    def count(self) -> int:
        """How many."""
        return self.durations.count


# All that is counted of a VM.
Row = NotifierUnmaps | S2Faults | ShadowUnmaps | RevmapRecords
# The same by the fields of Snapshot that hold them.
KINDS: Mapping[str, type[Row]] = {
    "notifier_unmaps": NotifierUnmaps,
    "s2_faults": S2Faults,
    "shadow_unmaps": ShadowUnmaps,
    "revmap_records": RevmapRecords,
}


@dataclass(frozen=True)
class Refusal:
    """A function and a mechanism that a probe point cannot be attached by, and why: one line."""

    hook: str
    mechanism: str
    why: str


# What durations include at one hook of a point that they do not at the hook of choice.
INCLUDES = {"l1_walk": "the walk of L1's stage 2"}


@dataclass(frozen=True)
class Attachment:
    """Where a probe point attached, or why not.

    mechanism: "fentry" | "kprobe", or "" where nothing attached; hook: the symbol (the first
    choice where nothing attached); problem: "" or the reason in one line; optional: another point
    tells nearly the same; refused: what was to be preferred and failed, in order; includes: one of
    INCLUDES, or "".
    """

    point: str
    hook: str
    mechanism: str
    problem: str = ""
    optional: bool = False
    refused: tuple[Refusal, ...] = ()
    includes: str = ""

    @property
    def text(self) -> str:
        """As a trace says it: "" where nothing attached.

        >>> Attachment("s2_fault", "f", "fentry").text
        'fentry f'
        >>> Attachment("s2_fault", "f", "fentry", includes="l1_walk").text
        "fentry f, with the walk of L1's stage 2"
        """
        if not self.mechanism:
            return ""
        included = f", with {INCLUDES[self.includes]}" if self.includes else ""
        return f"{self.mechanism} {self.hook}{included}"

    @property
    def remedy(self) -> str:
        """What may help where nothing attached, or "".

        >>> Attachment("s2_fault", "f", "", "this kernel has no function f").remedy
        'if it has another name: --symbol s2_fault=NAME'
        """
        unknown = f"no function {self.hook}" in self.problem
        return f"if it has another name: --symbol {self.point}=NAME" if unknown else ""


def notifier_seen(attachments: Iterable[Attachment]) -> bool:
    """Whether it is known which shadow unmaps ran within a notifier unmap."""
    return any(a.point == "notifier_unmap" and a.mechanism for a in attachments)


@dataclass(frozen=True)
class Room:
    """Of a BPF map: entries in use, and how many it can have."""

    used: int
    capacity: int


@dataclass(frozen=True)
class Runs:
    """Of a BPF program, while the kernel kept count (kernel.bpf_stats_enabled): runs, and ns."""

    count: int
    time_ns: int


@dataclass(frozen=True)
class Snapshot:
    """All counters at one time. lost: cause -> events that happened but are not counted above.

    broken: VM -> its shadow MMUs whose reverse map is broken now, of those that broke since the
    probes were attached; VMs that have none may be missing.
    Causes: start_full, vm_full, mmu_full (no memory or no room), recursion (the kernel skipped a
    program that was running on that CPU already; not there where nobody tells), missed_exit,
    missed_entry (half of a call was not seen for another reason). One event can be under two
    causes, never under none: take "not 0" as the signal, and the sum as an upper bound. A missed
    exit shows when its task makes its next call.
    room: the maps that can be full, by name; runs: the programs, by name.
    """

    notifier_unmaps: tuple[NotifierUnmaps, ...] = ()
    s2_faults: tuple[S2Faults, ...] = ()
    shadow_unmaps: tuple[ShadowUnmaps, ...] = ()
    revmap_records: tuple[RevmapRecords, ...] = ()
    broken: Mapping[VmKey, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    room: Mapping[str, Room] = field(default_factory=dict)
    runs: Mapping[str, Runs] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """All rows, of any kind."""
        for kind in KINDS:
            yield from getattr(self, kind)
