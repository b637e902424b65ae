"""What came out, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from nvscope.analysis.units import name as short
from nvscope.analysis.units import size
from nvscope.analysis.verify.compared import DIFFERS, MmuResult, VmResult
from nvscope.analysis.verify.look import Result
from nvscope.analysis.verify.spans import Spans, size_bytes
from nvscope.probes.errors import shown

NOTHING = "no VM with nested guests is alive at its end"
AFTER_ITS_END = "the trace has ended: what was mapped or unmapped since is not in it"
NO_END = (
    "the trace has no end: if nothing records it any more, what was mapped or unmapped since is not"
    " in it"
)
_SHOWN = 8  # ranges of a difference; --json has all


def as_text(file: str, result: Result) -> str:
    """The first line is the verdict."""
    return "\n".join(_lines(file, result)) + "\n"


def _lines(file: str, result: Result) -> Iterator[str]:
    why = "" if result.vms else f" ({NOTHING})"
    yield f"{shown(file)}: {result.verdict}{why}"
    for vm in result.vms:
        yield from _vm_lines(vm)
    if result.verdict == DIFFERS:
        yield f"  note: {AFTER_ITS_END if result.ended else NO_END}"


def _vm_lines(vm: VmResult) -> Iterator[str]:
    who = f"VM {short(vm.name)}" if vm.name else "VM"
    why = f": {vm.why}" if vm.why else ""
    yield shown(f"  {who} (pid {vm.pid}, struct kvm {vm.kvm:#x}): {vm.verdict}{why}")
    for mmu in vm.mmus:
        yield from _mmu_lines(mmu)


def _mmu_lines(mmu: MmuResult) -> Iterator[str]:
    what = f": {mmu.why}" if mmu.why else f", {_amount(mmu.both)} by both"
    yield f"    {mmu.table} (mmu {mmu.address:#x}): {mmu.verdict}{what}"
    for title, spans in (
        ("mapped, but no event says so", mmu.unsaid),
        ("an event says so, but not mapped", mmu.missing),
    ):
        if spans:
            yield f"      {title}: {_amount(spans)}"
            for start, end in spans[:_SHOWN]:
                yield f"        {start:#x}-{end:#x}"
            if len(spans) > _SHOWN:
                yield f"        and {len(spans) - _SHOWN:,} more (--json has all)"


def _amount(spans: Spans) -> str:
    count = f"{len(spans):,} range{'' if len(spans) == 1 else 's'}"
    return f"{size(size_bytes(spans))} in {count}" if spans else "nothing"


def as_json(file: str, result: Result) -> str:
    """One object; addresses are numbers, ranges are [start, end)."""
    return json.dumps(_object(file, result), indent=2) + "\n"


def _object(file: str, result: Result) -> dict[str, Any]:
    return {
        "file": click.format_filename(file),
        "verdict": result.verdict,
        "trace_ended": result.ended,
        "vms": [
            {
                "kvm": vm.kvm,
                "pid": vm.pid,
                "vm": vm.name,
                "folder": click.format_filename(vm.folder),
                "verdict": vm.verdict,
                "why": vm.why,
                "mmus": [_mmu_object(mmu) for mmu in vm.mmus],
            }
            for vm in result.vms
        ],
    }


def _mmu_object(mmu: MmuResult) -> dict[str, Any]:
    return {
        "mmu": mmu.address,
        "table": mmu.table,
        "vttbr": mmu.vttbr,
        "verdict": mmu.verdict,
        "why": mmu.why,
        "both": mmu.both,
        "mapped_but_no_event": mmu.unsaid,
        "event_but_not_mapped": mmu.missing,
    }
