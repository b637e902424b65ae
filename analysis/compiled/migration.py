"""VMs that the compiled loop holds: their state is moved there, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nvscope.analysis.compiled.eligibility import entries_of, mappings_of
from nvscope.analysis.compiled.loop import dicts, moves
from nvscope.analysis.compiled.loop import state as at
from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.findings import MappingView, WideUnmap
from nvscope.analysis.judging.notifiers import Notifier, Progress
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.unmapping import Task, Unmapped
from nvscope.analysis.judging.vm_state import MmuState, Vm
from nvscope.analysis.model import shadow as shadows
from nvscope.analysis.model.mappings import Mapping
from nvscope.analysis.model.ranges import Entry
from nvscope.analysis.model.rules import VALID_ENTRY

# A VM that was given back stays so for at least as many rows, and for twice its entries.
_REST = 4096
_MOST_MMUS = 1 << at.MMU_BITS


class Migration:
    """Who is held. state: the loop's."""

    def __init__(self, all_vms: AllVms, unmapped: Unmapped, mode: int) -> None:
        self.state = at.new_state(mode)
        self._has_entries = mode == at.HAS_ENTRIES
        self._all_vms = all_vms
        self._unmapped = unmapped
        self._held: dict[int, int] = {}  # kvm -> row of state.vms
        self._due: dict[int, int] = {}  # kvm -> the row from which on it may be held
        self._mmus: set[int] = set()  # whose rows are in state.mmus, by address
        self._free_vms: list[int] = []
        self._free_mmus: list[int] = []
        self._elsewhere: set[int] = set()  # tasks of state.tasks

    @property
    def holds_any(self) -> bool:
        """Whether it holds any VM."""
        return bool(self._held)

    def prepare(self, rows: int) -> None:
        """So many rows are about to be run."""
        self.state = at.with_room(self.state, rows, 0, 0)
        elsewhere = set(self._unmapped.open_tasks())
        for tid in self._elsewhere - elsewhere:
            dicts.drop(self.state.tasks, tid)
        for tid in elsewhere - self._elsewhere:
            dicts.put(self.state.tasks, tid, at.ELSEWHERE)
        self._elsewhere = elsewhere

    def hold(self, row: int) -> None:
        """Hold what can be held, from that row on."""
        busy = {_vm_of(task) for task in self._unmapped.open_tasks().values()}
        self._due = {kvm: due for kvm, due in self._due.items() if kvm in self._all_vms.vms}
        for kvm, vm in self._all_vms.vms.items():
            if kvm not in self._held and self._due.get(kvm, 0) <= row and vm not in busy:
                moved = None if self._clashes(vm) else self._moved(vm)
                if moved is not None:
                    self._hold(vm, moved)
                else:
                    self._rest(vm, row, sum(map(self._size, vm.mmus.values())))

    def _moved(self, vm: Vm) -> list[at.Array] | None:
        of = entries_of if self._has_entries else mappings_of
        return of(self._all_vms, vm)

    def _size(self, mmu: MmuState) -> int:
        return len(mmu.shadow.entries if self._has_entries else mmu.shadow.mappings)

    def release(self, kvm: int, row: int) -> bool:
        """Give a VM back to the model; whether it was held."""
        number = self._held.pop(kvm, None)
        if number is None:
            return False
        vm = self._all_vms.vms[kvm]
        known = self.state.vms[number]
        self._count_doubts(vm, known)
        vm.barrier = max(vm.barrier, int(known[at.BARRIER]))
        of = dict(zip(self._mmus_of(known), vm.mmus.values(), strict=True))
        self._give_task(vm, known, of)
        entries = sum([self._give(vm, watched, mmu) for mmu, watched in of.items()])
        known[at.TASK] = at.IDLE
        dicts.drop(self.state.vm_of, _signed(kvm))
        self._free_vms.append(number)
        self._rest(vm, row, entries)
        return True

    def release_tasks(self, tids: np.ndarray[Any, Any], row: int) -> None:
        """Give back the VMs that any of these tasks is in a call of."""
        busy = self.state.vms[:, at.TASK] != at.IDLE
        if busy.any():
            for kvm, number in list(self._held.items()):
                if busy[number] and self.state.vms[number, at.TID] in tids:
                    self.release(kvm, row)

    def release_all(self, row: int) -> None:
        """Give back all."""
        for kvm in list(self._held):
            self.release(kvm, row)

    def count_doubts(self) -> None:
        """Of VMs that may have MMUs which are not known, no notifier unmap is judged whole."""
        for kvm, number in self._held.items():
            vm = self._all_vms.vms[kvm]
            if vm.doubt:
                self._count_doubts(vm, self.state.vms[number])

    def wide(self) -> Iterator[WideUnmap]:
        """The unmaps that took more than had to go, since they were last counted."""
        kvms = {number: kvm for kvm, number in self._held.items()}
        for known in self.state.wide[: self.state.counts[at.WIDE]].tolist():
            vm = self._all_vms.vms[kvms[known[at.WIDE_VM]]]
            of = dict(zip(self._mmus_of(self.state.vms[known[at.WIDE_VM]]), vm.mmus, strict=True))
            by = MappingView(*known[at.BY_NESTED : at.BY_MADE + 1])
            yield WideUnmap(
                known[at.WIDE_AT],
                vm.kvm,
                of[known[at.WIDE_MMU]],
                bool(known[at.WIDE_FULL]),
                nested_ipa=known[at.WIDE_NESTED],
                size=known[at.WIDE_SIZE],
                unmapped=known[at.WIDE_UNMAPPED],
                unmapped_bytes=known[at.WIDE_UNMAPPED_BYTES],
                needed=known[at.WIDE_NEEDED],
                needed_bytes=known[at.WIDE_NEEDED_BYTES],
                needed_by=None if by.row == at.NONE else by,
            )

    def _count_doubts(self, vm: Vm, known: at.Array) -> None:
        if vm.doubt and known[at.ENDS]:
            self._all_vms.sink.unjudged_ends(vm.doubt, int(known[at.ENDS]))
        known[at.ENDS] = 0

    def _rest(self, vm: Vm, row: int, entries: int) -> None:
        self._due[vm.kvm] = row + max(_REST, 2 * entries)

    def _clashes(self, vm: Vm) -> bool:
        """Whether one of its MMUs is another VM's as well, which no kernel says."""
        return not self._mmus.isdisjoint(vm.mmus) or len(self._mmus) + len(vm.mmus) > _MOST_MMUS

    def _hold(self, vm: Vm, moved: list[at.Array]) -> None:
        vms, mmus = len(self._held) + 1, len(self._mmus) + len(moved)
        self.state = at.with_room(self.state, sum(map(len, moved)), mmus, vms)
        number = self._free_vms.pop() if self._free_vms else vms - 1
        self._held[vm.kvm] = number
        dicts.put(self.state.vm_of, _signed(vm.kvm), number)
        known = self.state.vms[number]
        known[:] = 0
        known[at.TASK], known[at.FIRST_MMU] = at.IDLE, at.NONE
        known[at.BARRIER] = vm.barrier
        # The last comes first, so that they are chained in the VM's own order.
        for watched, entries in reversed(list(zip(vm.mmus.values(), moved, strict=True))):
            known[at.FIRST_MMU] = self._take(watched, entries, number, int(known[at.FIRST_MMU]))

    def _take(self, watched: MmuState, entries: at.Array, vm: int, after: int) -> int:
        shadow = watched.shadow
        used = len(self._mmus)
        mmu = self._free_mmus.pop() if self._free_mmus else used
        dicts.put(self.state.mmu_of, _signed(shadow.mmu), mmu)
        self._mmus.add(shadow.mmu)
        known = self.state.mmus[mmu]
        known[:] = 0
        known[at.VM], known[at.HEAD], known[at.NEXT_MMU] = vm, at.NONE, after
        known[at.LAST_MADE], known[at.SINCE], known[at.OF] = at.NONE, watched.since, at.NONE
        known[at.USED] = shadow.used
        moves.put(self.state, mmu, entries)
        shadow.entries.clear()
        shadow.mappings.clear()
        return mmu

    def _mmus_of(self, known: at.Array) -> Iterator[int]:
        """The rows of a VM's MMUs, in its order."""
        mmu = int(known[at.FIRST_MMU])
        while mmu != at.NONE:
            yield mmu
            mmu = int(self.state.mmus[mmu, at.NEXT_MMU])

    def _give(self, vm: Vm, watched: MmuState, mmu: int) -> int:
        """Returns how many entries there were."""
        shadow, known = watched.shadow, self.state.mmus[mmu]
        is_emptied = any(unmap.full for unmap in shadow.unmaps)
        entries = moves.take(self.state, mmu).tolist()
        for canonical, nested, shift, made in entries:
            if self._has_entries and not is_emptied:
                shadow.entries.add(Entry(canonical, canonical + (1 << shift), nested | VALID_ENTRY))
            if made != at.NONE:
                shadow.mappings.make(Mapping(nested, canonical, 1 << shift, made))
        watched.since = int(known[at.SINCE])
        if known[at.LAST_MADE] != at.NONE:
            shadow.last_made, shadow.used = int(known[at.LAST_MADE]), True
        if known[at.TOUCHED]:
            shadow.freed = False
        if known[at.RANGED]:
            shadow.unmaps_doubt = ""
        self._give_calls(vm, watched, mmu, int(known[at.CALLS]))
        dicts.drop(self.state.mmu_of, _signed(shadow.mmu))
        self._mmus.remove(shadow.mmu)
        self._free_mmus.append(mmu)
        return len(entries)

    def _give_calls(self, vm: Vm, watched: MmuState, mmu: int, calls: int) -> None:
        for number in range(max(0, calls - at.REMEMBERED), calls):
            call = self.state.calls[mmu, number % at.REMEMBERED].tolist()
            row, time_ns, tid, canonical, nested, size, duration_ns, is_new = call
            detail = "stored" if is_new else "unchanged"
            where = (vm.kvm, vm.pid, watched.shadow.mmu, canonical, nested, size)
            entry = Entry(canonical, canonical + size, nested | VALID_ENTRY) if is_new else None
            said = Row(row, "record", time_ns, tid, *where, detail, 0, False, duration_ns)
            watched.records.calls.append((said, detail, (), entry, False))

    def _give_task(self, vm: Vm, known: at.Array, of: dict[int, MmuState]) -> None:
        """The calls that are under way."""
        calls = int(known[at.TASK])
        if calls == at.IDLE:
            return
        task, tid = Task(), int(known[at.TID])
        if calls != at.IN_UNMAP:
            began, start, end = (int(known[c]) for c in (at.BEGAN, at.START, at.END))
            task.notifier = Notifier(vm, began, start, end)
            for mmu, watched in of.items():
                done = self.state.mmus[mmu]
                if done[at.OF] == began:
                    progress = Progress(int(done[at.NEXT]), int(done[at.ACTED]))
                    progress.full = bool(done[at.FULL])
                    task.notifier.progress[watched] = progress
        if calls != at.IN_NOTIFIER:
            self._give_unmap(known, task, of)
        dicts.drop(self.state.tasks, tid)
        self._unmapped.put_task(tid, task)

    def _give_unmap(self, known: at.Array, task: Task, of: dict[int, MmuState]) -> None:
        task.of = of[int(known[at.UNMAP_OF])]
        began, start, end = (int(known[c]) for c in (at.UNMAP_BEGAN, at.UNMAP_START, at.UNMAP_END))
        task.unmap = shadows.Unmap(began, start, end, bool(known[at.UNMAP_FULL]))
        task.of.shadow.unmaps.append(task.unmap)
        if task.notifier is not None and known[at.UNMAP_SLOT] != at.NONE:
            slot = self.state.slots[int(known[at.UNMAP_SLOT])].tolist()
            start, size = slot[at.CANONICAL], 1 << slot[at.SHIFT]
            entry = Entry(start, start + size, slot[at.NESTED] | VALID_ENTRY)
            task.notifier.of(task.of).entry = entry


def _vm_of(task: Task) -> Vm | None:
    if task.of is not None:
        return task.of.vm
    return task.notifier.vm if task.notifier is not None else None


def _signed(pointer: int) -> int:
    """As it is in a column of int64."""
    return pointer - (1 << 64) if pointer >> 63 else pointer
