"""Follows what is mapped, row by row: what each unmap took, what came back, and at which cost."""

from __future__ import annotations

from collections import Counter

from nvscope.analysis.interop.ranges import Range
from nvscope.analysis.judging.over_unmap import Taken, taken
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.report.measures.timeline import Timeline
from nvscope.analysis.report.measures.unmaps import Costs, MeasuredUnmap
from nvscope.analysis.report.measures.vms import Shadow, Vm, Vms

# Mappings followed at one time, over all VMs: some 470 bytes of memory each.
MAX_MAPPINGS = 1 << 21
# Calls under way at one time that are remembered, by task; a host has far fewer.
MAX_TASKS = 1 << 14


class Task:
    """What a task is in the middle of."""

    def __init__(self) -> None:
        self.notifier: Row | None = None
        self.unmap: MeasuredUnmap | None = None
        self.unmapping = False
        self.taken_bytes = 0
        self.reason = ""
        self.returned: dict[MeasuredUnmap, int] = {}  # bytes that its last map brought back of each


class Follower:
    """Takes rows in their order.

    pictures: whether to take one of each VM, when it maps most; the reverse map is followed for
    these alone.
    """

    def __init__(
        self, vms: Vms, timeline: Timeline, costs: Costs | None = None, *, pictures: bool = True
    ) -> None:
        self.vms = vms
        self.costs = costs or Costs()
        self.counts: Counter[str] = Counter()
        self._timeline = timeline
        self._tasks: dict[int, Task] = {}
        self._pictures = pictures
        self._mapped = 0
        self._handlers = {
            "notifier_begin": self._notifier_begin,
            "notifier_end": self._notifier_end,
            "record": self._record,
            "broken": self._counted,
            "fallback": self._fallback,
            "map": self._map,
            "unmap_begin": self._unmap_begin,
            "unmap_end": self._unmap_end,
            "fault": self._fault,
            "mmu_recycle": self._counted,
        }
        if not pictures:
            self._handlers["record"] = self._counted

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of rows to be given."""
        return frozenset(self._handlers) | {"mmu_init", "mmu_free", "vm_exit"}

    def row(self, row: Row, name: str = "") -> None:
        """Take the next row. name: that its VM has by then; "": it does not say."""
        if row.kind in ("vm_exit", "mmu_init", "mmu_free"):
            self._life(row, name)
            return
        if row.kind == "fallback":
            self.counts[f"fallback {row.detail}"] += 1
        elif row.kind == "unmap_end":
            self.counts[f"unmap {_scope(row)} {row.detail}"] += 1
        vm = self.vms.of(row.kvm, row.pid, row.time_ns)
        if vm is None:
            return
        vm.last_ns = row.time_ns
        vm.pid = vm.pid or row.pid
        if name:
            vm.name = name
        self._handlers[row.kind](row, vm)

    def finish(self) -> None:
        """There are no more rows."""
        for vm in self.vms.seen:
            if not vm.ended:
                self._look(vm, vm.last_ns)
        self.costs.finish()

    def _look(self, vm: Vm, time_ns: int) -> None:
        if self._pictures:
            vm.look(time_ns)

    # ---- VMs and MMUs come and go

    def _life(self, row: Row, name: str) -> None:
        if row.kind == "mmu_free":
            self._mmu_free(row)
            return
        begins = row.kind == "mmu_init" and not row.mmu
        if row.kind == "vm_exit" or begins:
            self._vm_exit(row)
        if begins:
            vm = self.vms.of(row.kvm, row.pid, row.time_ns)
            if vm is not None:
                vm.name = name

    def _vm_exit(self, row: Row) -> None:
        vm = self.vms.end(row.kvm)
        if vm is not None:
            self._look(vm, row.time_ns)
            for shadow in vm.mmus.values():
                self._empty(shadow)

    def _mmu_free(self, row: Row) -> None:
        vm = self.vms.get(row.kvm)
        shadow = vm.mmus.get(row.mmu) if vm else None
        if vm and shadow:
            self._look(vm, row.time_ns)
            self._empty(shadow)

    def _empty(self, shadow: Shadow) -> None:
        self._mapped -= len(shadow.mapped.unmap(0, 0, full=True))
        shadow.entries.clear()
        self._give_up(shadow.mapped.forgive(0, 0, full=True))

    def _give_up(self, lost: list[Range[MeasuredUnmap]]) -> None:
        for start, end, unmap in lost:
            unmap.owed_bytes -= end - start
            if unmap.owed_bytes <= 0:
                self.costs.close(unmap)

    def _counted(self, row: Row, vm: Vm) -> None:
        shadow = vm.mmu(row.mmu)
        if shadow:
            shadow.counts[row.kind] += 1

    # ---- notifier unmaps

    def _notifier_begin(self, row: Row, vm: Vm) -> None:
        self._task(row.tid).notifier = row

    def _notifier_end(self, row: Row, vm: Vm) -> None:
        task = self._task(row.tid)
        task.notifier = None
        task.reason = ""
        for shadow in vm.mmus.values():
            if len(shadow.entries):  # none without pictures
                shadow.entries.take(row.canonical, row.canonical + row.size)

    def _fallback(self, row: Row, vm: Vm) -> None:
        self._task(row.tid).reason = row.detail
        vm.counts[f"fallback {row.detail}"] += 1
        self._counted(row, vm)

    # ---- shadow mappings

    def _record(self, row: Row, vm: Vm) -> None:
        shadow = vm.mmu(row.mmu)
        if shadow is None:
            return
        shadow.counts[f"record {row.detail}"] += 1
        start, end = row.canonical, row.canonical + row.size
        if row.detail == "stored" and self._mapped < MAX_MAPPINGS:
            shadow.entries.take(start, end)
            shadow.entries.add(start, end, row.nested)
        elif row.detail == "overlapped":
            met = shadow.entries.take(start, end)
            start = min([start, *(r.start for r in met)])
            shadow.entries.add(start, max([end, *(r.end for r in met)]), None)

    def _map(self, row: Row, vm: Vm) -> None:
        shadow = vm.mmu(row.mmu)
        if shadow is None:
            return
        shadow.counts["map" if row.result >= 0 else "map failed"] += 1
        if row.result < 0:
            return
        mapped, had = shadow.mapped, shadow.mapped.count
        if self._mapped >= MAX_MAPPINGS:
            mapped.unmap(row.nested, row.size, full=False)  # what it replaces is gone all the same
            self._mapped += mapped.count - had
            if self._mapped >= MAX_MAPPINGS:
                self.counts["not followed"] += 1
                return
            had = mapped.count
        back = mapped.map(row.nested, row.canonical, row.size, row.at)
        self._mapped += mapped.count - had
        shadow.peak_bytes = max(shadow.peak_bytes, mapped.bytes)
        self._came_back(row, back)

    def _came_back(self, row: Row, parts: list[Range[MeasuredUnmap]]) -> None:
        task = self._task(row.tid) if parts else self._tasks.get(row.tid)
        if task is None:
            return
        task.returned = {}
        for start, end, unmap in parts:
            task.returned[unmap] = task.returned.get(unmap, 0) + end - start
            unmap.owed_bytes -= end - start
            if unmap.owed_bytes <= 0:
                unmap.back_ns = row.time_ns

    def _fault(self, row: Row, vm: Vm) -> None:
        if not row.mmu:
            return
        shadow = vm.mmu(row.mmu)
        if shadow:
            shadow.counts["fault" if row.result >= 0 else "fault failed"] += 1
            shadow.fault_ns += row.duration_ns
        task = self._tasks.get(row.tid)
        if task is None or not task.returned:
            return
        whole = sum(task.returned.values())
        self._timeline.put("refault_ns", row.time_ns, row.duration_ns)
        for unmap, part in task.returned.items():
            self.costs.refaulted(unmap, row.duration_ns * part // whole)
        task.returned = {}

    # ---- shadow unmaps

    def _unmap_begin(self, row: Row, vm: Vm) -> None:
        task = self._task(row.tid)
        task.unmapping = True
        task.unmap = self._unmap(row, vm, task)

    def _unmap_end(self, row: Row, vm: Vm) -> None:
        task = self._task(row.tid)
        unmap = task.unmap if task.unmapping else self._unmap(row, vm, task)
        if unmap is not None:
            unmap.duration_ns = row.duration_ns
        self._timeline.put(f"taken {_scope(row)}", row.time_ns, task.taken_bytes)
        task.unmapping, task.unmap, task.taken_bytes = False, None, 0
        vm.counts[f"unmap {_scope(row)} {row.detail}"] += 1

    def _unmap(self, row: Row, vm: Vm, task: Task) -> MeasuredUnmap | None:
        """Take out what an unmap takes; returns it if it is within a notifier unmap."""
        shadow = vm.mmu(row.mmu)
        if shadow is None:
            return None
        scope = _scope(row)
        shadow.counts[f"unmap {scope}"] += 1
        self._look(vm, row.time_ns)
        gone = shadow.mapped.unmap(row.nested, row.size, full=row.full)
        self._mapped -= len(gone)
        took = taken(gone, *_range(task.notifier))
        task.taken_bytes = took.unmapped_bytes
        self.counts[f"taken {scope} {row.detail}"] += took.unmapped_bytes
        if row.full:
            shadow.entries.clear()
        if row.detail == "notifier":
            unmap = self._opened(row, vm, task, took)
            shadow.mapped.owe(gone, unmap)
            return unmap
        # The guest's hypervisor has given this up, or the MMU has: it need not come back.
        self._give_up(shadow.mapped.forgive(row.nested, row.size, full=row.full))
        return None

    def _opened(self, row: Row, vm: Vm, task: Task, took: Taken) -> MeasuredUnmap:
        unmap = MeasuredUnmap(row.time_ns, vm.number, row.mmu, row.full, row.nested, row.size)
        unmap.reason, task.reason = task.reason, ""
        unmap.taken, unmap.needed_bytes = took.unmapped, took.needed_bytes
        unmap.taken_bytes = unmap.owed_bytes = took.unmapped_bytes
        if task.notifier is not None:
            unmap.canonical_ipa, unmap.canonical_size = task.notifier.canonical, task.notifier.size
        self.costs.opened(unmap)
        return unmap

    def _task(self, tid: int) -> Task:
        task = self._tasks.get(tid)
        if task is None:
            if len(self._tasks) >= MAX_TASKS:
                self._tasks.clear()
            task = self._tasks[tid] = Task()
        return task


def _range(notifier: Row | None) -> tuple[int, int]:
    """Of an unmap without a notifier nothing is known to have had to go."""
    return (0, 0) if notifier is None else (notifier.canonical, notifier.canonical + notifier.size)


def _scope(row: Row) -> str:
    return "full" if row.full else "ranged"
