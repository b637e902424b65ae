"""The event table: what one row of a trace says. Data only; the one home of its names.

Times are CLOCK_MONOTONIC of the traced host in nanoseconds, addresses and sizes are bytes. The
order of rows is the order of events: each was put into one ring buffer while the locks were held
that order it (mmu_lock for read where something is mapped, for write where it is unmapped). Only
rows of different vCPUs that map at the same time may have changed places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

# Of the columns and of what the metadata says. A reader refuses a newer one.
SCHEMA_VERSION = 1

# kind -> what has happened; in the order of enum nv_event_kind (bpf/nvscope.h).
KINDS: Mapping[str, str] = {
    "loss": "`count` events are missing because of `detail`, after this row and before its time",
    "mmu_init": "a stage-2 MMU is made, and maps nothing; mmu 0: the canonical one, a VM begins",
    "mmu_free": "all page tables of a shadow MMU go, and its reverse map with them",
    "mmu_recycle": "a shadow MMU is given to another context, whose VTTBR_EL2 is in `nested_ipa`",
    "vm_exit": "a VM is being destroyed",
    "notifier_begin": "a notifier unmap of the canonical range [canonical_ipa, +size) begins",
    "notifier_end": "it ends",
    "record": "a shadow mapping was noted in the reverse map; `detail`: what became of it",
    "broken": "an MMU's reverse map is from now on not to be relied on",
    "fallback": "a notifier unmap gives up on an MMU's reverse map; `detail`: why",
    "map": "[nested_ipa, +size) was mapped to canonical_ipa by a shadow MMU; result: 0 or -errno",
    "unmap_begin": "an unmap of a shadow MMU's [nested_ipa, +size) begins; `full`: of all of it",
    "unmap_end": "it ends",
    "fault": "a stage-2 fault ends; mmu 0: on the canonical stage 2; result: >= 0 or -errno",
}

# The words that `detail` can have, by kind. "" where there is nothing to say.
DETAILS: Mapping[str, tuple[str, ...]] = {
    "record": ("stored", "unchanged", "overlapped", "failed", "skipped", "unknown"),
    "fallback": ("broken", "unknown_ipa", "raced", "unknown"),
    "unmap_begin": ("notifier", "tlbi", "recycling", "other"),
    "unmap_end": ("notifier", "tlbi", "recycling", "other"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One row. What a kind has no use for is 0, "" or False.

    time_ns: when it happened, for an end: when it ended. cpu, tid, comm: where, and in which task
    (the notifier's is whoever takes the page back, not the VM's). kvm: `struct kvm *`, and pid:
    kvm->userspace_pid: together they name a VM while it lives. vm: what people call it, "" where
    that is not known. mmu: the `struct kvm_pgtable *` of a shadow MMU, which is its own
    while it lives (some kernels move the struct kvm_s2_mmu itself); 0 for the canonical one. count:
    lost events. duration_ns: since the begin, of notifier_end, unmap_end, fault and record.
    """

    kind: str
    time_ns: int = 0
    cpu: int = 0
    tid: int = 0
    comm: str = ""
    kvm: int = 0
    pid: int = 0
    vm: str = ""
    mmu: int = 0
    canonical_ipa: int = 0
    nested_ipa: int = 0
    size: int = 0
    detail: str = ""
    result: int = 0
    full: bool = False
    may_block: bool = False
    count: int = 0
    duration_ns: int = 0


COLUMNS = tuple(field.name for field in fields(Event))


@dataclass(frozen=True)
class About:
    """What a trace says of itself, once, before its first row.

    kernel: `uname -r`; arch: `uname -m`; revmap: "none" | "maple" | "tracking" | "unknown";
    boot_id: which boot of the host (/proc/sys/kernel/random/boot_id); started_unix_ns: wall clock
    at the start, with started_ns the same instant on the clock of the rows; probes: probe point ->
    "mechanism symbol", with what else its durations include, "" where it is not attached; recorder:
    program and version; host: its name; machine: "physical" | "virtual" | "emulated" | "unknown".
    Older traces do not say these two: "". points: name and digest of the points file that named
    functions, or ""; points_text: its content.
    """

    kernel: str = ""
    arch: str = ""
    revmap: str = "none"
    boot_id: str = ""
    started_ns: int = 0
    started_unix_ns: int = 0
    probes: Mapping[str, str] | None = None
    recorder: str = ""
    host: str = ""
    machine: str = ""
    points: str = ""
    points_text: str = ""
