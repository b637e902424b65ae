"""Reads a trace once, batch by batch, and keeps what the page needs: memory has a bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from nvscope.analysis import units
from nvscope.analysis.judging.rows import Words, unchecked, words_of
from nvscope.analysis.report.measures.follow import Follower
from nvscope.analysis.report.measures.tally import Tally, kind_codes
from nvscope.analysis.report.measures.timeline import Timeline
from nvscope.analysis.report.measures.unmaps import Costs
from nvscope.analysis.report.measures.vms import MAX_VMS, Vms
from nvscope.probes.traces.events import DETAILS, KINDS, About
from nvscope.probes.traces.tracefile import TraceSource

_KINDS = tuple(KINDS)
_DETAILS = frozenset(word for words in DETAILS.values() for word in words) | {""}


@dataclass
class Findings:
    """What was gathered from a trace. ending: "" of a complete one, else how it ends."""

    about: About
    tally: Tally
    follower: Follower
    timeline: Timeline
    vms: Vms
    ending: str

    @property
    def lost(self) -> int:
        """Events that are known to be missing."""
        return sum(self.tally.losses.values())

    @property
    def fallbacks(self) -> Counter[str]:
        """Reason -> how many fallbacks."""
        return self._counted("fallback ")

    @property
    def unmaps(self) -> Counter[str]:
        """ "full notifier", "ranged tlbi" and so on -> how many shadow unmaps."""
        return self._counted("unmap ")

    @property
    def impossible(self) -> int:
        """Mappings that were left out: no page table has their size."""
        mmus = (mmu for vm in self.vms.seen for mmu in vm.mmus.values())
        return sum(mmu.mapped.left_out for mmu in mmus)

    def _counted(self, prefix: str) -> Counter[str]:
        counts = self.follower.counts.items()
        return Counter(
            {what.removeprefix(prefix): n for what, n in counts if what.startswith(prefix)}
        )


def gather(reader: TraceSource, costs: Costs | None = None, *, pictures: bool = True) -> Findings:
    """Read all of a trace. costs: what is told of each unmap. Raises TraceError.

    pictures: whether to take one of each VM; they cost half of the time.
    """
    vms, cutter = Vms(), _Cutter()

    def start(start_ns: int) -> tuple[Timeline, Tally, Follower]:
        timeline = Timeline(start_ns)
        follower = Follower(vms, timeline, costs, pictures=pictures)
        return timeline, Tally(timeline, vms), follower

    gathered: tuple[Timeline, Tally, Follower] | None = None
    for batch in reader.batches():
        if not batch.num_rows:
            continue
        gathered = gathered or start(int(batch["time_ns"].to_numpy().min()))
        _, tally, follower = gathered
        for piece in cutter.pieces(batch):
            _follow(piece, follower, tally.rows)
            tally.add(piece)
    timeline, tally, follower = gathered or start(reader.about.started_ns)
    follower.finish()
    return Findings(reader.about, tally, follower, timeline, vms, reader.ending)


class _Cutter:
    """Cuts batches where VMs begin and end: within a piece, a `struct kvm *` names one VM."""

    def __init__(self) -> None:
        self._left = 4 * MAX_VMS  # cuts; past them there are VMs enough

    def pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        kinds, canonical = kind_codes(batch), batch["mmu"].to_numpy() == 0
        begins = (kinds == _KINDS.index("mmu_init")) & canonical
        cuts = np.flatnonzero(begins | (kinds == _KINDS.index("vm_exit")))[: self._left]
        self._left -= len(cuts)
        start = 0
        for cut in [*(int(c) for c in cuts if c), batch.num_rows]:
            yield batch.slice(start, cut - start)
            start = cut


def _follow(batch: pa.RecordBatch, follower: Follower, base: int) -> None:
    """base: the first row's number in the trace."""
    kinds, numbers = kind_codes(batch), np.arange(base, base + batch.num_rows)
    wanted = np.isin(kinds, [_KINDS.index(kind) for kind in follower.kinds])
    # Of a canonical fault there is nothing to follow.
    wanted &= (kinds != _KINDS.index("fault")) | (batch["mmu"].to_numpy() != 0)
    where = np.flatnonzero(wanted)
    columns, vms = unchecked(batch, numbers).taken(where), words_of(batch, "vm", numbers)
    details = [word if word in _DETAILS else "unknown" for word in columns.details.names]
    known = replace(columns, details=Words(columns.details.codes, details))
    names = Words(vms.codes[where], [units.name(word) for word in vms.names]).words(slice(None))
    for row, name in zip(known.rows(), names, strict=True):
        follower.row(row, name)
