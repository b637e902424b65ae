"""Which VMs are alive, from what is counted of them and from their processes.

Counts may stay readable after their VM has ended: until they are dropped, or for ever where the
maps are another's. A VM is known by its `struct kvm` and its thread, and another may have the same
two later. So what has ended is hidden for as long as it is read, unless its counts move again.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from copy import copy
from dataclasses import dataclass

from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.vms.identity import Identities, Process, Vm


@dataclass(frozen=True)
class _Hidden:
    """count: of all that it did, when last read; seen: whether that was after its end."""

    count: int
    seen: bool


class Liveness:
    """VMs from their first count to their end. started, ended: how many so far.

    Not for two threads. Memory: O(VMs that are read).
    """

    def __init__(self, most: int | None = None) -> None:
        """most: VMs with a name of their own at a time (identity.Identities)."""
        self._identities = Identities(most)
        self._vms: dict[VmKey, Vm] = {}
        self._counts: dict[VmKey, int] = {}
        self._hidden: dict[VmKey, _Hidden] = {}
        self.started = self.ended = 0

    def set_bound(self, most: int | None) -> None:
        """Another bound, for VMs from now on: those that have a name keep it."""
        self._identities.most = most

    def look(self, counts: Mapping[VmKey, int]) -> dict[VmKey, Vm]:
        """Return those that are alive of the VMs that have counts.

        counts: VM -> how much it did so far, of any kind: it only grows while the VM liveness.
        Where it raises, nothing has changed.
        """
        hidden = {
            key
            for key, last in self._hidden.items()
            if key in counts and not _moved(last, counts[key])
        }
        before, old, identities = self._vms, self._counts, copy(self._identities)
        vms = identities.refresh(counts.keys() - hidden)
        ended = before.keys() - vms.keys()
        # Fewer than before: the kernel dropped that VM's counts, and these are another's.
        if any(key in counts and counts[key] < old[key] for key in ended):
            hidden |= {key for key in ended if key in counts and counts[key] >= old[key]}
            vms = identities.refresh(counts.keys() - hidden)
        self._identities, self._vms, self._counts = identities, vms, dict(counts)
        self._hidden = {key: _Hidden(counts[key], seen=True) for key in counts.keys() - vms.keys()}
        self.ended += len(ended)
        self.started += len(vms.keys() - (before.keys() - ended))
        return dict(vms)

    def end(self, process: Process) -> set[VmKey]:
        """Take note that a process has ended; return its VMs, which are hidden from now on."""
        ended = {key for key, of in self._identities.processes().items() if of == process}
        for key in ended:
            del self._vms[key]
            self._hidden[key] = _Hidden(self._counts[key], seen=False)
        self._identities.forget(ended)
        self.ended += len(ended)
        return ended

    def processes(self) -> frozenset[Process]:
        """The processes of the VMs that are alive."""
        return frozenset(self._identities.processes().values())

    def hidden(self) -> Set[VmKey]:
        """VMs that have ended, and are still read."""
        return self._hidden.keys()


def _moved(hidden: _Hidden, count: int) -> bool:
    """Whether the counts are a later VM's; the VM itself may go on until its end was seen."""
    return count < hidden.count or (hidden.seen and count != hidden.count)
