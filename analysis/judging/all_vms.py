"""All VMs of a trace, and what handlers of several kinds of events do with them."""

from __future__ import annotations

from nvscope.analysis.judging import records
from nvscope.analysis.judging.findings import SUBJECTS
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.judging.vm_state import (
    AFTER_LOSS,
    BEFORE,
    NOT_NESTED,
    OTHER_MMUS,
    MmuState,
    ResultSink,
    Vm,
)
from nvscope.analysis.model.lookup import Lookup
from nvscope.analysis.model.shadow import Shadow
from nvscope.analysis.model.tracked import Tracked
from nvscope.analysis.model.variants import Variant


class AllVms:
    """The VMs by `struct kvm`. broke: task -> whose map broke, in the record that it is in."""

    def __init__(self, variant: Variant, sink: ResultSink) -> None:
        self.variant = variant
        self.sink = sink
        self.vms: dict[int, Vm] = {}
        self.broke: dict[int, MmuState] = {}
        self._with_deferred: set[MmuState] = set()

    def vm(self, row: Row) -> Vm:
        """The row's VM; one not seen so far ran before the trace."""
        vm = self.vms.get(row.kvm)
        return self.begin_vm(row, OTHER_MMUS) if vm is None else vm

    def begin_vm(self, row: Row, doubt: str) -> Vm:
        """A VM, new or newly seen."""
        lookup = Lookup() if self.variant.lookup else None
        vm = self.vms[row.kvm] = Vm(row.kvm, row.pid, doubt, lookup=lookup)
        return vm

    def end_vm(self, row: Row) -> Vm | None:
        """It is gone; None: it was not known."""
        vm = self.vms.pop(row.kvm, None)
        if vm is not None:
            self.settle_all(vm)
        return vm

    def mmu(self, row: Row) -> MmuState:
        """The row's shadow MMU; one not seen so far is empty, if the VM began in the trace."""
        try:
            return self.vms[row.kvm].mmus[row.mmu]
        except KeyError:
            vm = self.vm(row)
            return self.begin_mmu(vm, row, BEFORE if vm.doubt == OTHER_MMUS else vm.doubt)

    def begin_mmu(self, vm: Vm, row: Row, doubt: str) -> MmuState:
        """An MMU, new or newly seen."""
        tracked = Tracked() if self.variant.tracks and self.variant.modelled else None
        shadow = Shadow(row.mmu, tracked=tracked)
        mmu = vm.mmus[row.mmu] = MmuState(vm, shadow, vm.since if not doubt else row.at)
        if doubt:
            mmu.lose_track(doubt, row.at)
        return mmu

    def lose_all(self, row: Row) -> None:
        """Events are missing: of all VMs, perhaps."""
        self._with_deferred.clear()
        self.broke.clear()
        for vm in self.vms.values():
            vm.doubt = AFTER_LOSS
            for mmu in vm.mmus.values():
                mmu.lose_track(AFTER_LOSS, row.at)

    def lose(self, row: Row, mmu: MmuState) -> None:
        """The rows of an MMU make no sense: some are missing."""
        self.sink.unjudged(NOT_NESTED, *SUBJECTS)
        self._with_deferred.discard(mmu)
        mmu.lose_track(NOT_NESTED, row.at)

    def write_locked(self, row: Row, vm: Vm) -> None:
        """mmu_lock is held for write: all records before are over, and their rows are here."""
        if self._with_deferred:
            self.settle_all(vm)
        vm.barrier = row.at

    # Records whose outcome is yet to be explained.

    def has_deferred(self, mmu: MmuState) -> bool:
        """Whether it has one."""
        return mmu in self._with_deferred

    def defer(self, mmu: MmuState) -> None:
        """It has one now."""
        self._with_deferred.add(mmu)

    def settle_all(self, vm: Vm | None = None) -> None:
        """No more rows will come that could explain them. vm: of this one; else of all."""
        mmus = [mmu for mmu in self._with_deferred if vm is None or mmu.vm is vm]
        for mmu in sorted(mmus, key=lambda mmu: mmu.records.deferred_row):
            self.settle(mmu)

    def settle(self, mmu: MmuState) -> None:
        """The same for one MMU."""
        self._with_deferred.discard(mmu)
        finding = mmu.records.deferred
        if finding is None:
            return
        why = mmu.records.settle(mmu.shadow, mmu.vm.barrier)
        if not why:
            self.sink.judged("conformance")
        elif why == records.TOO_MANY:
            self.sink.unjudged(why, "conformance", "fallback", "precision")
            mmu.distrust_entries(why)
        else:
            self.sink.report(mmu, finding)
