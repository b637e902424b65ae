"""The shadow MMUs of a VM."""

from __future__ import annotations

from collections import Counter

from nvscope.analysis.report.measures.vms import Shadow, Vm
from nvscope.analysis.report.sections.shapes import Table
from nvscope.analysis.units import duration, number, size


def mmus(vm: Vm) -> Table:
    """What happened to each shadow MMU of a VM."""
    head = (
        *("MMU", "Maps", "Faults", "Fault time", "Unmaps, full", "Unmaps, ranged"),
        *("Most mapped", "Recycled", "Fallbacks", "Broken", "Records"),
    )
    return Table(head, [_mmu(mmu) for mmu in vm.mmus.values()], frozenset({0, 10}))


def _mmu(mmu: Shadow) -> tuple[str, ...]:
    counts = mmu.counts
    records = {
        key.removeprefix("record "): n for key, n in counts.items() if key.startswith("record ")
    }
    return (
        f"{mmu.address:#x}",
        _with_failed(counts, "map"),
        _with_failed(counts, "fault"),
        duration(mmu.fault_ns),
        number(counts["unmap full"]),
        number(counts["unmap ranged"]),
        size(mmu.peak_bytes),
        number(counts["mmu_recycle"]),
        number(counts["fallback"]),
        number(counts["broken"]),
        ", ".join(f"{number(n)} {what}" for what, n in records.items()) or "none",
    )


def _with_failed(counts: Counter[str], what: str) -> str:
    failed = counts[f"{what} failed"]
    return f"{number(counts[what])} (+ {number(failed)} failed)" if failed else number(counts[what])
