"""Which rows show a finding: those of its MMU since that was empty, and of them the fewest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from nvscope.analysis.model.variants import Variant
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.findings import Finding
from nvscope.analysis.validate.rows import event_at
from nvscope.analysis.validate.shrink import Budget, ddmin
from nvscope.probes.events import About, Event

MAX_ROWS = 10_000  # of one finding
MAX_TRACED = 20  # findings that get a sub-trace

# A trace again, from its start: for a second pass.
Again = Callable[[], Iterator[pa.RecordBatch]]
Numbered = tuple[int, Event]


@dataclass
class _Wanted:
    """The rows of a finding, as they are come across; the last MAX_ROWS of them."""

    finding: Finding
    rows: deque[Numbered] = field(default_factory=lambda: deque(maxlen=MAX_ROWS))
    cut: bool = False

    def take(self, batch: pa.RecordBatch, base: int) -> None:
        first, last = self.finding.since - base, self.finding.row - base
        if last < 0 or first >= batch.num_rows:
            return
        for index in _concerned(batch, self.finding):
            if first <= index <= last:
                self.cut = self.cut or len(self.rows) == MAX_ROWS
                self.rows.append((base + index, event_at(batch, index)))


def _concerned(batch: pa.RecordBatch, finding: Finding) -> list[int]:
    """The rows of the finding's MMU and of its VM as a whole, but for faults."""
    kvm, mmu = batch.column("kvm").to_numpy(), batch.column("mmu").to_numpy()
    kinds = batch.column("kind")
    fault = np.array([name == "fault" for name in kinds.dictionary.to_pylist()] or [False])
    is_fault = fault[kinds.indices.to_numpy(zero_copy_only=False)]
    of_vm = (kvm == finding.event.kvm) & ((mmu == finding.mmu) | (mmu == 0)) & ~is_fault
    return [int(index) for index in np.nonzero(of_vm)[0]]


def add_traces(findings: Iterable[Finding], again: Again, about: About, variant: Variant) -> None:
    """Give the first MAX_TRACED findings their sub-traces, by one more pass over the trace."""
    findings = list(findings)
    wanted = [_Wanted(finding) for finding in findings[:MAX_TRACED]]
    for finding in findings[MAX_TRACED:]:
        finding.note = f"no sub-trace: only the first {MAX_TRACED} findings have one"
    last = max((w.finding.row for w in wanted), default=-1)
    base = 0
    for batch in again() if wanted else ():
        for want in wanted:
            want.take(batch, base)
        base += batch.num_rows
        if base > last:
            break
    for want in wanted:
        _shorten(want, about, variant)


def _shorten(want: _Wanted, about: About, variant: Variant) -> None:
    finding, rows = want.finding, list(want.rows)
    finding.trace = rows
    if want.cut:
        finding.note = f"not shortened: these are the last {MAX_ROWS} of more rows"
    elif not rows or not shows(rows, finding, about, variant):
        finding.note = "not shortened: these rows alone do not show it"
    else:
        budget = Budget()
        *before, last = rows

        def still(left: Sequence[Numbered]) -> bool:
            return shows([*left, last], finding, about, variant)

        finding.trace = [*ddmin(before, still, budget), last]
        if budget.spent:
            finding.note = "perhaps not the shortest: the search took too long"


def shows(rows: Iterable[Numbered], finding: Finding, about: About, variant: Variant) -> bool:
    """Whether the model finds the same in these rows alone."""
    engine = Engine(about, variant)
    engine.feed_events(dict(rows))
    return any(found.is_like(finding) for found in engine.finish().findings)
