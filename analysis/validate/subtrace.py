"""Which rows show a finding: those of its MMU since that was empty, and of them the fewest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nvscope.analysis.interop.files.stored import Numbered
from nvscope.analysis.judging.findings import Finding
from nvscope.analysis.judging.rows import Numbers
from nvscope.analysis.model.variants import Variant
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.shrink import Budget, ddmin
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import events

MAX_ROWS = 10_000  # of one finding
MAX_TRACED = 20  # findings that get a sub-trace

NumberedEvent = tuple[int, Event]
# Rows that show a finding, and what is to be said of them.
Traced = tuple[list[NumberedEvent], str]


@dataclass
class _Wanted:
    """The rows of a finding, as they are come across; the last MAX_ROWS of them."""

    finding: Finding
    rows: deque[NumberedEvent] = field(default_factory=lambda: deque(maxlen=MAX_ROWS))
    cut: bool = False

    def take(self, numbers: Numbers, batch: pa.RecordBatch) -> None:
        first, end = np.searchsorted(numbers, [self.finding.since, self.finding.row + 1]).tolist()
        if first >= end:
            return
        where = first + _concerned(batch.slice(first, end - first), self.finding)
        self.cut = self.cut or len(self.rows) + len(where) > MAX_ROWS
        where = where[-MAX_ROWS:]
        chosen = events(batch.take(pa.array(where)))
        self.rows.extend(zip(numbers[where].tolist(), chosen, strict=True))


def _concerned(batch: pa.RecordBatch, finding: Finding) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The rows of the finding's MMU and of its VM as a whole, but for faults."""
    kvm, mmu = batch.column("kvm").to_numpy(), batch.column("mmu").to_numpy()
    kinds = batch.column("kind")
    fault = np.array([name == "fault" for name in kinds.dictionary.to_pylist()] or [False])
    is_fault = fault[kinds.indices.to_numpy(zero_copy_only=False)]
    of_vm = (kvm == finding.event.kvm) & ((mmu == finding.mmu) | (mmu == 0)) & ~is_fault
    return np.flatnonzero(of_vm)


def to_be_traced(findings: Sequence[Finding]) -> Sequence[Finding]:
    """The findings of a trace that get a sub-trace: the first; the others say that they do not."""
    for finding in findings[MAX_TRACED:]:
        finding.note = f"no sub-trace: only the first {MAX_TRACED} findings have one"
    return findings[:MAX_TRACED]


def sub_traces(
    findings: Sequence[Finding], trace: Iterable[Numbered], about: About, variant: Variant
) -> list[Traced]:
    """The sub-traces of findings, by one more pass over the trace, from its start."""
    wanted = [_Wanted(finding) for finding in findings]
    last = max((finding.row for finding in findings), default=-1)
    for numbers, batch in trace:
        for want in wanted:
            want.take(numbers, batch)
        if len(numbers) and numbers[-1] >= last:
            break
    return [_shortened(want, about, variant) for want in wanted]


def _shortened(want: _Wanted, about: About, variant: Variant) -> Traced:
    finding, rows = want.finding, list(want.rows)
    if want.cut:
        return rows, f"not shortened: these are the last {MAX_ROWS} of more rows"
    there = _found(rows, about, variant) if rows else []
    if not any(found.is_like(finding) for found in there):
        return rows, "not shortened: these rows alone do not show it"
    budget = Budget()
    *before, last = rows

    def still(left: Sequence[NumberedEvent]) -> bool:
        return shows([*left, last], finding, about, variant, beside=there)

    shortest = [*ddmin(before, still, budget), last]
    note = "perhaps not the shortest: the search took too long" if budget.spent else ""
    return shortest, note


def shows(
    rows: Iterable[NumberedEvent],
    finding: Finding,
    about: About,
    variant: Variant,
    beside: Sequence[Finding] = (),
) -> bool:
    """Whether the same is found in these rows alone, and nothing else is, but for what is `beside`.

    So a row is not left out whose lack would look like a mistake of the kernel's.
    """
    found = _found(rows, about, variant)
    known = [finding, *beside]
    return any(each.is_like(finding) for each in found) and all(
        any(each.is_like(other) for other in known) for each in found
    )


def _found(rows: Iterable[NumberedEvent], about: About, variant: Variant) -> list[Finding]:
    engine = Engine(about, variant)
    engine.feed_events(dict(rows))
    return engine.finish().findings
