"""What notifier unmaps took of shadow MMUs, and what of it had to go.

Bytes and mappings are counted once the unmap has ended: by then it is known what was there, and
what came meanwhile.
"""

from __future__ import annotations

from nvscope.analysis.judging.findings import OVER_UNMAP, MappingView, WideUnmap
from nvscope.analysis.judging.notifiers import MAYBE_GONE, Notifier
from nvscope.analysis.judging.over_unmap import Taken, taken
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.vm_state import MmuState, ResultSink
from nvscope.analysis.model.mappings import Mapping
from nvscope.analysis.model.shadow import Unmap


class Need:
    """Counts the unmaps within notifiers."""

    def __init__(self, sink: ResultSink) -> None:
        self._sink = sink
        self._result = sink.result

    def begins(self, *, full: bool) -> None:
        """An unmap within a notifier begins."""
        if full:
            self._result.full_unmaps += 1
        else:
            self._result.ranged_unmaps += 1

    def ended(
        self,
        row: Row,
        mmu: MmuState,
        unmap: Unmap,
        notifier: Notifier,
        gone: list[Mapping],
        doubt: str,
    ) -> None:
        """It has ended. gone: what is gone with it. doubt: why not all is known of what was."""
        result, sure = self._result, [mapping for mapping in gone if mapping.certain]
        took = taken(sure, notifier.start, notifier.end)
        result.unmapped += took.unmapped
        result.needed += took.needed
        result.unmapped_bytes += took.unmapped_bytes
        result.needed_bytes += took.needed_bytes
        if not doubt and (len(sure) < len(gone) or _came_meanwhile(mmu, unmap)):
            doubt = MAYBE_GONE
        if doubt:
            self._sink.inexact(doubt, OVER_UNMAP)
        if took.needed:
            result.needed_unmaps += 1
        elif not doubt:
            result.needless_unmaps += 1
        if took.is_wide:
            result.take_wide(_wide(row, mmu, unmap, took))


def _wide(row: Row, mmu: MmuState, unmap: Unmap, took: Taken) -> WideUnmap:
    where = (row.at, row.kvm, mmu.shadow.mmu, unmap.full, unmap.start, unmap.end - unmap.start)
    by = took.needed_by
    view = by and MappingView(by.nested, by.canonical, by.size, by.made)
    return WideUnmap(*where, *took[:4], view)


def _came_meanwhile(mmu: MmuState, unmap: Unmap) -> bool:
    """Whether something was mapped there while it was under way: it may have taken that as well."""
    shadow = mmu.shadow
    if shadow.last_made < unmap.began:
        return False
    if unmap.full:
        return bool(shadow.mappings)
    return bool(shadow.mappings.mapped_in(unmap.start, unmap.end))
