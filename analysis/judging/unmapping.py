"""The rows of notifier unmaps and of shadow unmaps: who is in which call, and what has changed."""

from __future__ import annotations

from dataclasses import dataclass

from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.findings import OVER_UNMAP
from nvscope.analysis.judging.need import Need
from nvscope.analysis.judging.notifiers import Judge, Notifier
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.vm_state import MmuState, Region, Vm
from nvscope.analysis.model import rules
from nvscope.analysis.model.shadow import Unmap

NO_BEGIN = "began before the trace did, or before a loss"


@dataclass(eq=False, slots=True)
class Task:
    """The calls that a task is in: a notifier unmap, and within it or alone a shadow unmap."""

    notifier: Notifier | None = None
    unmap: Unmap | None = None
    of: MmuState | None = None


class Unmapped:
    """Handles rows of these kinds."""

    def __init__(self, all_vms: AllVms, judge: Judge) -> None:
        self._all_vms = all_vms
        self._sink = all_vms.sink
        self._judge = judge
        self._need = Need(all_vms.sink)
        self._tasks: dict[int, Task] = {}

    def forget(self, vm: Vm | None = None) -> None:
        """Calls under way are lost sight of. vm: those of this one; else all."""
        for tid, task in list(self._tasks.items()):
            of = task.of.vm if task.of is not None else task.notifier and task.notifier.vm
            if vm is None or of is vm:
                del self._tasks[tid]

    def open_tasks(self) -> dict[int, Task]:
        """The tasks that are in a call, by their tid."""
        return {tid: task for tid, task in self._tasks.items() if task.notifier or task.unmap}

    def put_task(self, tid: int, task: Task) -> None:
        """A task is in these calls."""
        self._tasks[tid] = task

    def is_in_notifier(self, tid: int) -> bool:
        """Whether the task is in a notifier unmap."""
        task = self._tasks.get(tid)
        return task is not None and task.notifier is not None

    def notifier_begin(self, row: Row) -> None:
        """A notifier unmap begins."""
        vm = self._all_vms.vm(row)
        self._all_vms.write_locked(row, vm)
        task = self._task(row.tid)
        if task.notifier is not None or task.unmap is not None:
            self._lose(row, task)
        task.notifier = Notifier(vm, row.at, row.canonical, row.canonical + row.size)
        self._sink.result.notifiers += 1

    def notifier_end(self, row: Row) -> None:
        """It ends."""
        vm = self._all_vms.vm(row)
        task = self._tasks.pop(row.tid, None)
        if task is None or task.notifier is None:
            self._sink.unjudged(NO_BEGIN, "safety", "fallback", "precision")
            return
        self._all_vms.write_locked(row, vm)
        notifier = task.notifier
        start = row.canonical
        same = start == notifier.start and start + row.size == notifier.end
        if notifier.vm is not vm or not same or task.unmap is not None:
            self._lose(row, task)
        else:
            self._judge.end(row, notifier)

    def fallback(self, row: Row) -> None:
        """A notifier unmap gives up on an MMU's reverse map."""
        mmu = self._all_vms.mmu(row)
        self._all_vms.write_locked(row, mmu.vm)
        task = self._tasks.get(row.tid)
        variant = self._all_vms.variant
        if not variant.modelled:
            return
        if not variant.revmap:
            if not mmu.shadow.doubt:
                expected = "no fallback: there is no reverse map"
                self._sink.found("conformance", row.at, mmu, expected, row.detail, Region())
        elif task is None or task.notifier is None or task.notifier.vm is not mmu.vm:
            self._sink.unjudged(NO_BEGIN, "fallback")
        else:
            self._judge.fallback(row, task.notifier, mmu)

    def unmap_begin(self, row: Row) -> None:
        """A shadow unmap begins."""
        mmu = self._all_vms.mmu(row)
        self._all_vms.write_locked(row, mmu.vm)
        task = self._task(row.tid)
        if task.unmap is not None:
            self._lose(row, task)
        if task.notifier is not None and task.notifier.vm is mmu.vm:
            self._need.begins(full=row.full)
            self._judge.unmap(row, task.notifier, mmu)
        elif row.detail == "notifier":
            self._need.begins(full=row.full)
            self._sink.unjudged(NO_BEGIN, "fallback", "precision", OVER_UNMAP)
        if row.full:
            mmu.forget_entries()
        elif row.detail == "tlbi" and self._all_vms.variant.tlbi_removes:
            mmu.shadow.replace(rules.stale(mmu.shadow, row.nested, row.nested + row.size), None)
        nested = row.nested
        task.unmap = Unmap(row.at, nested, nested + row.size, row.full)
        task.of = mmu
        mmu.shadow.begin_unmap(task.unmap)

    def unmap_end(self, row: Row) -> None:
        """It ends."""
        mmu = self._all_vms.mmu(row)
        self._all_vms.write_locked(row, mmu.vm)
        task = self._tasks.get(row.tid)
        if task is None or task.unmap is None:
            if not mmu.shadow.doubt:
                self._all_vms.lose(row, mmu)
            return
        unmap = task.unmap
        same = row.nested == unmap.start and row.nested + row.size == unmap.end
        if task.of is not mmu or not same or row.full != unmap.full:
            self._lose(row, task)
            return
        task.unmap = task.of = None
        if unmap in mmu.shadow.unmaps:
            self._end(row, mmu, unmap, task.notifier)
        if task.notifier is None:
            del self._tasks[row.tid]

    def _task(self, tid: int) -> Task:
        task = self._tasks.get(tid)
        if task is None:
            task = self._tasks[tid] = Task()
        return task

    def _lose(self, row: Row, task: Task) -> None:
        """A call of this task did not end as it began: rows are missing."""
        concerned = set() if task.of is None else {task.of}
        if task.notifier is not None:
            concerned |= set(task.notifier.vm.mmus.values())
        task.notifier = task.unmap = task.of = None
        for mmu in concerned:
            self._all_vms.lose(row, mmu)

    def _end(self, row: Row, mmu: MmuState, unmap: Unmap, notifier: Notifier | None) -> None:
        doubt = mmu.shadow.mappings_doubt
        gone = mmu.shadow.end_unmap(unmap)
        if notifier is not None:
            self._need.ended(row, mmu, unmap, notifier, gone, doubt)
            self._erase(mmu, notifier)
        if unmap.full and mmu.shadow.is_empty:
            # What a notifier that is not done yet did before counts as well.
            open_ones = [t.notifier for t in self._tasks.values() if t.notifier is not None]
            mmu.since = min([unmap.began, *(n.began for n in open_ones if n.vm is mmu.vm)])

    def _erase(self, mmu: MmuState, notifier: Notifier) -> None:
        """The entry of a ranged unmap goes after the mapping."""
        progress = notifier.of(mmu)
        entry, progress.entry = progress.entry, None
        shadow = mmu.shadow
        if entry is None or shadow.entries_doubt:
            return
        progress.next = entry.end
        if shadow.entries.at(entry.start) == entry:
            shadow.entries.remove(entry)
            if mmu.vm.lookup is not None:
                mmu.vm.lookup.forget([entry], shadow.entries, shadow.mmu)
