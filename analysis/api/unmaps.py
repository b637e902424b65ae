"""Shadow unmaps within notifier unmaps as a table: as the report follows them, but all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from nvscope.analysis.api.warned import lacks_of
from nvscope.analysis.report.measures.follow import MAX_MAPPINGS
from nvscope.analysis.report.measures.gather import Findings, gather
from nvscope.analysis.report.measures.unmaps import Costs, MeasuredUnmap
from nvscope.analysis.report.measures.vms import MAX_MMUS, MAX_VMS, Vm
from nvscope.probes.traces.tracefile import TraceSource

_TYPES = {
    "pid": pa.int32(),
    "vm": pa.string(),
    "reason": pa.string(),
    "full": pa.bool_(),
}
_OF_VM = ("kvm", "pid", "vm")
_OF_UNMAP = (
    *("mmu", "full", "nested_ipa", "size", "canonical_ipa", "canonical_size", "reason"),
    *("taken", "taken_bytes", "needed_bytes", "duration_ns", "refaults", "refault_ns", "back_ns"),
)
SCHEMA = pa.schema(
    [(name, _TYPES.get(name, pa.uint64())) for name in ("time_ns", *_OF_VM, *_OF_UNMAP)]
)


class _Kept(Costs):
    """Holds on to all unmaps."""

    def __init__(self) -> None:
        super().__init__()
        self.unmaps: list[MeasuredUnmap] = []

    def opened(self, unmap: MeasuredUnmap) -> None:
        super().opened(unmap)
        self.unmaps.append(unmap)


def read(source: TraceSource) -> tuple[pa.Table, list[str]]:
    """The table, and what is missing of it. Raises TraceError."""
    kept = _Kept()
    found = gather(source, kept, pictures=False)
    columns = {
        "time_ns": [unmap.time_ns for unmap in kept.unmaps],
        **_of_vms(kept.unmaps, found.vms.seen),
        **{name: [_value(unmap, name) for unmap in kept.unmaps] for name in _OF_UNMAP},
    }
    table = pa.table(columns, schema=SCHEMA)
    return table, lacks_of(source, found.tally.losses) + list(_left_out(found))


def _of_vms(unmaps: list[MeasuredUnmap], vms: list[Vm]) -> dict[str, list[object]]:
    of = [vms[unmap.vm - 1] for unmap in unmaps]  # their numbers count from 1
    return {
        "kvm": [vm.kvm for vm in of],
        "pid": [vm.pid for vm in of],
        "vm": [vm.name for vm in of],
    }


def _value(unmap: MeasuredUnmap, name: str) -> object:
    """None for what is not known."""
    value = getattr(unmap, name)
    if name in ("canonical_ipa", "canonical_size", "needed_bytes"):
        return value if unmap.canonical_size else None
    return (value or None) if name in ("duration_ns", "back_ns") else value


def _left_out(found: Findings) -> Iterator[str]:
    if found.vms.left_out:
        yield f"only the first {MAX_VMS} VMs are followed: unmaps of others are left out"
    if any(vm.mmus_left_out for vm in found.vms.seen):
        yield f"only {MAX_MMUS} shadow MMUs of a VM are followed: unmaps of others are left out"
    if found.follower.counts["not followed"]:
        yield f"only {MAX_MAPPINGS:,} mappings at a time are followed: what unmaps took is too low"
    if found.impossible:
        yield f"{found.impossible:,} mappings are left out, for no page table has their size"
