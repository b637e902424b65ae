"""What notifier unmaps took of shadow MMUs, and what of it had to go.

Leaves of page tables go whole: of a block of 2 MiB one page is never unmapped alone. So what had to
go are the mappings that lead into the notifier's range, whole, however little of them does; and an
unmap took the mappings that its nested range touches, whole. Bytes and mappings are counted once
the unmap has ended: by then it is known what was there, and what came meanwhile.
"""

from __future__ import annotations

from nvscope.analysis.judging import findings
from nvscope.analysis.judging.findings import OVER_UNMAP, MappingView
from nvscope.analysis.judging.notifiers import MAYBE_GONE, Notifier
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
        start, end = notifier.start, notifier.end
        result, sure = self._result, [mapping for mapping in gone if mapping.certain]
        needed = [m for m in sure if m.canonical < end and start < m.canonical + m.size]
        unmapped_bytes, needed_bytes = _bytes(sure), _bytes(needed)
        result.unmapped += len(sure)
        result.needed += len(needed)
        result.unmapped_bytes += unmapped_bytes
        result.needed_bytes += needed_bytes
        if not doubt and (len(sure) < len(gone) or _came_meanwhile(mmu, unmap)):
            doubt = MAYBE_GONE
        if doubt:
            self._sink.inexact(doubt, OVER_UNMAP)
        if needed:
            result.needed_unmaps += 1
        elif not doubt:
            result.needless_unmaps += 1
        if needed and unmapped_bytes == needed_bytes:
            return
        where = (row.at, row.kvm, mmu.shadow.mmu, unmap.full, unmap.start, unmap.end - unmap.start)
        counts = (len(sure), unmapped_bytes, len(needed), needed_bytes)
        by = min(needed, default=None)
        view = by and MappingView(by.nested, by.canonical, by.size, by.made)
        result.take_wide(findings.WideUnmap(*where, *counts, view))


def _came_meanwhile(mmu: MmuState, unmap: Unmap) -> bool:
    """Whether something was mapped there while it was under way: it may have taken that as well."""
    shadow = mmu.shadow
    if shadow.last_made < unmap.began:
        return False
    if unmap.full:
        return bool(shadow.mappings)
    return bool(shadow.mappings.mapped_in(unmap.start, unmap.end))


def _bytes(mappings: list[Mapping]) -> int:
    return sum(mapping.size for mapping in mappings)
