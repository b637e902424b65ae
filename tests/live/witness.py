"""The page tables that a workload has read of its own VM, against the events of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nvscope.analysis.interop.sources import batched
from nvscope.analysis.verify.compared import VmResult, compared
from nvscope.analysis.verify.debugfs import Shown
from nvscope.analysis.verify.ptdump import parsed
from nvscope.analysis.verify.traced import Tracing
from nvscope.probes.traces.events import About, Event


def compare_at_end(events: Sequence[Event], tables: Mapping[str, str]) -> VmResult:
    """A VM that changed nothing any more after its tables were read, until it ended.

    events: all of it; tables: what vmm.tables has read.
    """
    ended = next(at for at, event in enumerate(events) if event.kind in ("mmu_free", "vm_exit"))
    tracing = Tracing(About())
    tracing.feed(batched(events[:ended]))
    (vm,) = tracing.vms()
    texts = [tables[f"nested_mmu{number}"] for number in range(len(tables))]
    return compared(vm, Shown(Path(), tuple(map(parsed, texts))))
