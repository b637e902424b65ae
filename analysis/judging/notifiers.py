"""Notifier unmaps: each thing one does to an MMU against what the model says it has to do.

mmu_lock may be dropped between two steps, and other tasks change the state then. So a step is
judged when the kernel takes it, by the state it has then, and at the end whether something is left
that had to go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.vm_state import MmuState, Region, ResultSink, Vm
from nvscope.analysis.model import rules
from nvscope.analysis.model.ranges import Entry
from nvscope.analysis.model.rules import Fallback, Move, Ranged
from nvscope.analysis.model.variants import Variant

NOT_TOLD = "the kernel does not say why it fell back"
FREED = "its page tables were being freed"
UNDER_WAY = "an unmap from before the trace, or before a loss, may have been under way"
MAYBE_GONE = "made while an unmap of its range was under way"


@dataclass(eq=False, slots=True)
class Progress:
    """What a notifier unmap has done to one MMU.

    next: what lies before is dealt with. acted: it has done something, at that row. owes: it fell
    back, and the full unmap is yet to come. full: a full unmap came, or has begun. entry: which
    entry the ranged unmap under way is for.
    """

    next: int
    acted: int = -1
    owes: bool = False
    fell_back: bool = False
    full: bool = False
    entry: Entry | None = None


@dataclass(eq=False, slots=True)
class Notifier:
    """One notifier unmap of [start, end) that is under way since row `began`."""

    vm: Vm
    began: int
    start: int
    end: int
    progress: dict[MmuState, Progress] = field(default_factory=dict)

    def of(self, mmu: MmuState) -> Progress:
        """Its progress with an MMU."""
        progress = self.progress.get(mmu)
        if progress is None:
            progress = self.progress[mmu] = Progress(self.start)
        return progress


class Judge:
    """Judges notifier unmaps. says_fallbacks: whether the recorder saw why they fell back."""

    def __init__(self, variant: Variant, sink: ResultSink, *, says_fallbacks: bool) -> None:
        self._variant = variant
        self._sink = sink
        self._judged = sink.result.judged
        self._says_fallbacks = says_fallbacks

    def fallback(self, row: Row, notifier: Notifier, mmu: MmuState) -> None:
        """The kernel gives up on the MMU's reverse map."""
        progress = notifier.of(mmu)
        if not self._cannot_tell(mmu, "fallback"):
            self._judge_fallback(row, notifier, mmu, progress)
        progress.fell_back = progress.owes = True
        progress.acted = row.at

    def unmap(self, row: Row, notifier: Notifier, mmu: MmuState) -> None:
        """The kernel begins to unmap something of the MMU."""
        progress = notifier.of(mmu)
        if not self._variant.modelled:
            pass
        elif not self._variant.revmap:
            self._judge_without_revmap(row, notifier, mmu)
        elif row.full:
            if not progress.owes and not self._cannot_tell(mmu, "fallback"):
                self._judge_unannounced(row, notifier, mmu, progress)
        elif not self._cannot_tell(mmu, "precision", "conformance"):
            self._judge_ranged(row, notifier, mmu, progress)
        if row.full:
            progress.owes, progress.full = False, True
        progress.acted = row.at

    def end(self, row: Row, notifier: Notifier) -> None:
        """The notifier unmap is done: nothing may be left."""
        vm = notifier.vm
        if vm.doubt:
            self._sink.unjudged_ends(vm.doubt)
        concerned = None
        if vm.lookup is not None:
            concerned = vm.lookup.find(notifier.start, notifier.end)
        untouched = Progress(notifier.start)
        for mmu in vm.mmus.values():
            if not self._is_unsafe(row, notifier, mmu):
                progress = notifier.progress.get(mmu, untouched)
                looked_at = concerned is None or mmu.shadow.mmu in concerned
                self._judge_left(row, notifier, mmu, progress, has_entries=looked_at)

    def _cannot_tell(self, mmu: MmuState, *invariants: str) -> bool:
        if mmu.shadow.entries_doubt:
            self._sink.unjudged(mmu.shadow.entries_doubt, *invariants)
        return bool(mmu.shadow.entries_doubt)

    def _move(self, notifier: Notifier, mmu: MmuState, progress: Progress) -> Move:
        first = progress.acted < 0
        return rules.next_move(mmu.shadow, progress.next, notifier.end, first=first)

    def _judge_fallback(
        self, row: Row, notifier: Notifier, mmu: MmuState, progress: Progress
    ) -> None:
        move = self._move(notifier, mmu, progress)
        seen = f"fallback ({row.detail})"
        if progress.fell_back:
            self._found("conformance", row, notifier, mmu, "nothing more: it has fallen back", seen)
        elif isinstance(move, Fallback) and row.detail in (move.reason, "unknown"):
            self._sink.judged("fallback")
        elif row.detail in (rules.RACED, "unknown") and mmu.shadow.unmaps_doubt:
            self._sink.unjudged(UNDER_WAY, "fallback")
        else:
            invariant = "conformance" if isinstance(move, Fallback) else "fallback"
            self._found(invariant, row, notifier, mmu, _words(move), seen)

    def _judge_unannounced(
        self, row: Row, notifier: Notifier, mmu: MmuState, progress: Progress
    ) -> None:
        """A full unmap that no fallback row announced."""
        move = self._move(notifier, mmu, progress)
        if self._says_fallbacks or not isinstance(move, Fallback):
            if not self._says_fallbacks and mmu.shadow.unmaps_doubt:
                self._sink.unjudged(UNDER_WAY, "fallback")
                return
            expected = _words(move)
            if progress.fell_back:
                expected = "nothing more: all of it was unmapped"
            self._found("fallback", row, notifier, mmu, expected, "full unmap with no reason given")
        else:
            self._sink.judged("fallback")

    def _judge_ranged(
        self, row: Row, notifier: Notifier, mmu: MmuState, progress: Progress
    ) -> None:
        move = self._move(notifier, mmu, progress)
        if not isinstance(move, Fallback):
            one_of = rules.may_be_next(
                mmu.shadow, notifier.start, notifier.end, row.nested, row.size
            )
            move = one_of or move
        mmu.shadow.unmaps_doubt = ""  # else the kernel had fallen back: none is under way
        if progress.owes or progress.full:
            expected = "full unmap, after the fallback" if progress.owes else "nothing more"
            invariant = "fallback" if progress.owes else "conformance"
            self._found(invariant, row, notifier, mmu, expected, _seen(row))
        elif isinstance(move, Fallback):
            self._found("fallback", row, notifier, mmu, _words(move), _seen(row))
        elif move is None:
            self._found("precision", row, notifier, mmu, _words(move), _seen(row))
        else:
            self._judge_range(row, notifier, mmu, move.entry)
            progress.entry = move.entry

    def _judge_range(self, row: Row, notifier: Notifier, mmu: MmuState, entry: Entry) -> None:
        start, size = rules.nested_ipa(entry), entry.end - entry.start
        if (row.nested, row.size) == (start, size):
            self._sink.judged("precision")
            return
        longer = row.nested <= start and start + size <= row.nested + row.size
        invariant = "precision" if longer else "conformance"
        self._found(invariant, row, notifier, mmu, _words(Ranged(entry)), _seen(row))

    def _judge_without_revmap(self, row: Row, notifier: Notifier, mmu: MmuState) -> None:
        if row.full:
            self._sink.judged("fallback")
        else:
            self._found("fallback", row, notifier, mmu, "full unmap: no reverse map", _seen(row))

    def _is_unsafe(self, row: Row, notifier: Notifier, mmu: MmuState) -> bool:
        """Something is still mapped there, for sure."""
        shadow = mmu.shadow
        if shadow.mappings_doubt:
            self._sink.unjudged(shadow.mappings_doubt, "safety")
            return False
        left = shadow.mappings.leading_into(notifier.start, notifier.end)
        if not left:
            self._judged["safety"] += 1
            return False
        certain = sum(map(shadow.is_certain, left))
        if certain:
            expected = "no mapping that leads into the range"
            self._found("safety", row, notifier, mmu, expected, f"{certain} left")
        else:
            self._sink.unjudged(MAYBE_GONE, "safety")
        return certain > 0

    def _judge_left(
        self,
        row: Row,
        notifier: Notifier,
        mmu: MmuState,
        progress: Progress,
        *,
        has_entries: bool,
    ) -> None:
        shadow = mmu.shadow
        if not self._variant.modelled:
            return
        if shadow.doubt and not self._variant.revmap:
            self._sink.inexact(shadow.doubt, "fallback")
            return
        expected = ""
        if not self._variant.revmap:
            if shadow.used and not progress.full:
                expected = "full unmap: no reverse map"
        elif shadow.entries_doubt:
            if not shadow.mappings_doubt:
                self._sink.unjudged(shadow.entries_doubt, "fallback", "conformance")
        elif progress.owes:
            expected = "full unmap, after the fallback"
        elif not progress.fell_back and not progress.full:
            move = self._move_missed(notifier, mmu, progress, has_entries=has_entries)
            if move is None:
                return
            if isinstance(move, Ranged):
                said = _words(move)
                self._found("conformance", row, notifier, mmu, said, "nothing by its end")
            else:
                expected = _words(move)
        if expected:
            self._found("fallback", row, notifier, mmu, expected, "none by its end")

    def _move_missed(
        self, notifier: Notifier, mmu: MmuState, progress: Progress, *, has_entries: bool
    ) -> Move:
        """What it must have come across, whenever it looked: what was so all the time."""
        shadow = mmu.shadow
        if shadow.broken and progress.acted < 0 and shadow.broken_since < notifier.began:
            return Fallback(rules.BROKEN)
        if shadow.tracked is not None:
            # Of something lost meanwhile it need not have known.
            return (
                None
                if shadow.broken
                else rules.next_move(shadow, notifier.start, notifier.end, first=False)
            )
        if shadow.unmaps:
            since = max(notifier.began, progress.acted)
            if any(unmap.full and unmap.began < since for unmap in shadow.unmaps):
                return Fallback(rules.RACED)
            if shadow.full_unmaps:
                return None
        if not has_entries:
            return None
        return rules.next_move(shadow, progress.next, notifier.end, first=False)

    def _found(
        self, invariant: str, row: Row, notifier: Notifier, mmu: MmuState, expected: str, seen: str
    ) -> None:
        if mmu.shadow.freed:
            # The row says that freeing begins, and mmu_lock is taken only after that.
            self._sink.unjudged(FREED, invariant)
            return
        nested = (0, 0)
        if row.kind == "unmap_begin" and not row.full:
            nested = (row.nested, row.nested + row.size)
        around = Region((notifier.start, notifier.end), nested)
        self._sink.found(invariant, row.at, mmu, expected, seen, around)


def _words(move: Move) -> str:
    if move is None:
        return "nothing: no entry intersects what is left of its range"
    if isinstance(move, Fallback):
        return f"fallback ({move.reason})"
    entry = move.entry
    size = entry.end - entry.start
    return f"ranged unmap of {rules.nested_ipa(entry):#x} +{size:#x}, what the entry says"


def _seen(row: Row) -> str:
    return f"{'full' if row.full else 'ranged'} unmap of {row.nested:#x} +{row.size:#x}"
