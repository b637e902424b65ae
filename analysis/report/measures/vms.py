"""The VMs of a trace and their shadow MMUs: what is mapped where, and what was counted of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nvscope.analysis.interop.ranges import Ranges
from nvscope.analysis.interop.refaults import Refaults
from nvscope.analysis.report.measures.latency import Latency
from nvscope.analysis.report.measures.picture import Picture, draw
from nvscope.analysis.report.measures.unmaps import MeasuredUnmap

# Beyond these, rows are in the totals only, and the page says so.
MAX_VMS = 64
MAX_MMUS = 64  # of a VM; it has two a vCPU

# A new picture is worth its cost when there is this much more on it.
_MORE = 1.1


@dataclass
class Shadow:
    """A shadow MMU.

    mapped: what is, and what notifiers' unmaps took that has not come back; entries: canonical
    ranges of the reverse map -> nested IPA, or None where that is no longer known.
    """

    address: int
    mapped: Refaults[MeasuredUnmap] = field(default_factory=Refaults)
    entries: Ranges[int | None] = field(default_factory=Ranges)
    counts: Counter[str] = field(default_factory=Counter)
    peak_bytes: int = 0
    fault_ns: int = 0


@dataclass
class Vm:
    """A VM, from its first row to its last. number: from 1, in the order of appearance."""

    number: int
    kvm: int
    pid: int
    name: str = ""
    first_ns: int = 0
    last_ns: int = 0
    ended: bool = False
    mmus: dict[int, Shadow] = field(default_factory=dict)
    mmus_left_out: int = 0
    latencies: dict[str, Latency] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    picture: Picture | None = None

    def mmu(self, address: int) -> Shadow | None:
        """The shadow MMU; None where there are too many."""
        found = self.mmus.get(address)
        if found is None:
            if len(self.mmus) >= MAX_MMUS:
                self.mmus_left_out += 1
                return None
            found = self.mmus[address] = Shadow(address)
        return found

    def look(self, time_ns: int) -> None:
        """Take a picture, if there is clearly more to see than on the last one."""
        mapped = sum(mmu.mapped.count for mmu in self.mmus.values())
        if mapped > (self.picture.mappings * _MORE if self.picture else 0):
            those = [mmu for mmu in self.mmus.values() if mmu.mapped.count]
            spaces = {mmu.address: (mmu.mapped, mmu.entries) for mmu in those}
            self.picture = draw(time_ns, spaces)


class Vms:
    """All VMs of a trace. A `struct kvm *` names one only while it lives."""

    def __init__(self) -> None:
        self.seen: list[Vm] = []
        self.left_out: set[int] = set()
        self._alive: dict[int, Vm] = {}

    @property
    def full(self) -> bool:
        """Whether no VM can be added."""
        return len(self.seen) >= MAX_VMS

    def get(self, kvm: int) -> Vm | None:
        """The VM, if it is known."""
        return self._alive.get(kvm)

    def of(self, kvm: int, pid: int, time_ns: int) -> Vm | None:
        """The VM, new or known; None where there are too many."""
        vm = self._alive.get(kvm)
        if vm is None:
            if self.full:
                if len(self.left_out) < MAX_VMS:
                    self.left_out.add(kvm)
                return None
            vm = Vm(len(self.seen) + 1, kvm, pid, first_ns=time_ns)
            self.seen.append(vm)
            self._alive[kvm] = vm
        return vm

    def end(self, kvm: int) -> Vm | None:
        """The VM is gone."""
        vm = self._alive.pop(kvm, None)
        if vm is not None:
            vm.ended = True
        return vm
