"""What is mapped, by the page tables and by a trace's events, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nvscope.analysis.verify.debugfs import Shown
from nvscope.analysis.verify.ptdump import Table
from nvscope.analysis.verify.spans import Spans, common, merged, minus
from nvscope.analysis.verify.traced import TracedMmu, TracedVm

EQUAL, DIFFERS, CHANGING, UNKNOWN = "equal", "differs", "changing", "unknown"
# The first that any part has is that of the whole.
ORDER = (DIFFERS, CHANGING, UNKNOWN, EQUAL)

ENDED = "debugfs does not show it: it has ended"
SEVERAL = "its process has several VMs, and debugfs does not tell which is which"
EXCHANGED = (
    "the page tables are those of the trace's MMUs in another order: this kernel numbers them"
    " otherwise"
)
NOT_AT_REST = "mappings were made or unmapped meanwhile"
UNDER_WAY = "an unmap of it is under way"


@dataclass(frozen=True)
class MmuResult:
    """One shadow MMU. address: its struct kvm_pgtable; table: nested_mmu0, …; vttbr: a Table's.

    both: what the page table maps and events say so; unsaid: mapped, but no event says so; missing:
    an event says so, but it is not mapped. why: why the verdict is neither equal nor differs.
    """

    address: int
    table: str
    vttbr: int | None
    verdict: str
    both: Spans = ()
    unsaid: Spans = ()
    missing: Spans = ()
    why: str = ""


@dataclass(frozen=True)
class VmResult:
    """One VM. folder: where debugfs shows it, or "". kvm, pid, name: as in traces."""

    kvm: int
    pid: int
    name: str
    folder: str
    verdict: str
    mmus: tuple[MmuResult, ...] = ()
    why: str = ""


def compared(vm: TracedVm, shown: Shown) -> VmResult:
    """A VM at rest. The kernel numbers MMUs as it makes them, and so they are matched."""
    why = vm.why or shown.why
    if not why and len(vm.mmus) != len(shown.tables):
        why = f"debugfs shows {len(shown.tables)} shadow MMUs, and the trace has {len(vm.mmus)}"
    if why:
        return unknown(vm, why, folder=str(shown.folder))
    mmus = tuple(
        _compared(mmu, table, f"nested_mmu{number}")
        for number, (mmu, table) in enumerate(zip(vm.mmus, shown.tables, strict=True))
    )
    verdict = worst(mmu.verdict for mmu in mmus)
    if verdict == DIFFERS and _are_exchanged(vm, shown):
        return unknown(vm, EXCHANGED, folder=str(shown.folder))
    return VmResult(vm.kvm, vm.pid, vm.name, str(shown.folder), verdict, mmus)


def unknown(vm: TracedVm, why: str, verdict: str = UNKNOWN, folder: str = "") -> VmResult:
    """Why a VM cannot be compared."""
    return VmResult(vm.kvm, vm.pid, vm.name, folder, verdict, why=why)


def worst(verdicts: Iterable[str]) -> str:
    """The verdict of a whole, by those of its parts; of nothing it is unknown."""
    found = set(verdicts)
    return next((verdict for verdict in ORDER if verdict in found), UNKNOWN)


def _compared(mmu: TracedMmu, table: Table, name: str) -> MmuResult:
    if mmu.why or mmu.under_way:
        verdict, why = (UNKNOWN, mmu.why) if mmu.why else (CHANGING, UNDER_WAY)
        return MmuResult(mmu.address, name, table.vttbr, verdict, why=why)
    unsaid = minus(table.mapped, merged(mmu.mapped + mmu.maybe))
    missing = minus(mmu.mapped, table.mapped)
    return MmuResult(
        mmu.address,
        name,
        table.vttbr,
        DIFFERS if unsaid or missing else EQUAL,
        both=common(table.mapped, mmu.mapped),
        unsaid=unsaid,
        missing=missing,
    )


def _are_exchanged(vm: TracedVm, shown: Shown) -> bool:
    """Whether the same page tables would fit in another order."""
    return sorted(mmu.mapped for mmu in vm.mmus) == sorted(table.mapped for table in shown.tables)
