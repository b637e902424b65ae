"""Stands in for the kernel in the exporter's tests: counts, a host, and a /proc tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nvscope.probes.counts.snapshot import (
    SLOTS,
    Attachment,
    Durations,
    NotifierUnmaps,
    RevmapRecords,
    Room,
    Runs,
    S2Faults,
    ShadowUnmaps,
    Snapshot,
    VmKey,
)

ATTACHMENTS = (
    Attachment("notifier_unmap", "kvm_unmap_gfn_range", "fentry"),
    Attachment("shadow_unmap", "kvm_stage2_unmap_range", "", "not in this kernel's BTF"),
)
LOST = {"vm_full": 0, "missed_exit": 3}


def durations(slots: dict[int, int], sum_ns: int = 0) -> Durations:
    """Durations with these counts in these slots."""
    counts = tuple(slots.get(i, 0) for i in range(SLOTS))
    return Durations(sum(counts), sum_ns, counts)


def busy(*vms: VmKey) -> Snapshot:
    """A snapshot in which each VM has something of everything; the first one a broken map."""
    return Snapshot(
        tuple(NotifierUnmaps(vm, durations({0: 1, 12: 4, 38: 2}, 2_500_000_000)) for vm in vms),
        tuple(
            S2Faults(vm, stage, "ok", durations({14: n}, n * 10_000), refault)
            for vm in vms
            for stage, n, refault in (
                ("canonical", 5, False),
                ("shadow", 2, False),
                ("shadow", 4, True),
            )
        ),
        tuple(
            ShadowUnmaps(vm, scope, within, size_bytes, durations({20: n}, n), reason)
            for vm in vms
            for scope, within, n, size_bytes, reason in (
                ("full", "notifier", 7, 0, "none"),
                ("full", "notifier", 13, 0, "broken"),
                ("full", "other", 3, 0, "none"),
                ("ranged", "notifier", 11, 8192, "none"),
                ("ranged", "other", 1, 4096, "none"),
            )
        ),
        tuple(RevmapRecords(vm, "stored", durations({0: 17})) for vm in vms),
        dict.fromkeys(vms[:1], 1),
        LOST,
        {"rows": Room(7 * len(vms), 1024)},
        {"s2_fault_entry": Runs(5, 1_500_000_000), "vm_exit_entry": Runs(0, 0)},
    )


@dataclass(frozen=True)
class FakeHost:
    """A host of no particular kind."""

    kernel: str = "7.3.4"
    nv2: bool | None = True
    revmap: str = "none"


@dataclass
class FakeSource:
    """Counts that a test sets; problem is raised by snapshot() as long as it is set."""

    counts: Snapshot = field(default_factory=lambda: Snapshot(lost=LOST))
    attachments: tuple[Attachment, ...] = ATTACHMENTS
    host: FakeHost | None = FakeHost()
    problem: Exception | None = None
    forgotten: list[VmKey] = field(default_factory=list)
    closed: bool = False

    def snapshot(self) -> Snapshot:
        if self.problem is not None:
            raise self.problem
        return self.counts

    def forget(self, vm: VmKey) -> None:
        self.forgotten.append(vm)

    def close(self) -> None:
        self.closed = True


class FakeProc:
    """A /proc tree with as much as the exporter reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        (root / "stat").write_text("cpu 0 0 0 0 0 0 0 0 0 0\nbtime 1700000000\n")

    def start(
        self,
        pid: int,
        cmdline: bytes = b"",
        *,
        start: int = 100,
        comm: bytes = b"vmm",
        state: str = "S",
        threads: int = 1,
    ) -> None:
        """Put a process there; cmdline: arguments, each ended by a NUL byte."""
        self.thread(pid, pid)
        folder = self.root / str(pid)
        fields = [state, *["0"] * 16, str(threads), "0", str(start), *["0"] * 30]
        (folder / "stat").write_bytes(b"%d (%s) %s\n" % (pid, comm, " ".join(fields).encode()))
        (folder / "cmdline").write_bytes(cmdline)

    def thread(self, tid: int, pid: int) -> None:
        """Put a thread of a process there, as /proc/TID (which no listing of /proc shows)."""
        (self.root / str(tid)).mkdir(exist_ok=True)
        (self.root / str(tid) / "status").write_text(f"Name:\tvmm\nTgid:\t{pid}\nPid:\t{tid}\n")

    def end(self, pid: int) -> None:
        """Take a process or a thread away."""
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()


def idle(vm: VmKey, *stages: str) -> Snapshot:
    """A VM that has only had a fault, in each of these stages."""
    faults = (S2Faults(vm, stage, "ok", durations({14: 1}, 10_000)) for stage in stages)
    return Snapshot(s2_faults=tuple(faults), lost=LOST)
