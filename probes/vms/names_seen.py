"""VMs by name, those too that have ended since."""

from __future__ import annotations

from collections.abc import Iterable

from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.vms.identity import Identities, Vm
from nvscope.probes.vms.running_vms import is_called


class VmNames:
    """Who a `struct kvm` is, or was: what has been counted of a VM outlives it."""

    def __init__(self, identities: Identities | None = None) -> None:
        self._identities = identities or Identities()
        self._vms: dict[VmKey, Vm] = {}
        self._ended: set[VmKey] = set()

    def refresh(self, keys: Iterable[VmKey]) -> set[VmKey]:
        """Look up who these are; return those among them whose process has ended.

        A VM that ended before anyone could look is called by its pid. What is not among keys is
        forgotten; what has ended is not looked up again before that: its pid may have a new owner.
        """
        wanted = set(keys)
        alive = self._identities.refresh(wanted - self._ended)
        self._vms = {key: vm for key, vm in self._vms.items() if key in wanted} | alive
        self._ended = wanted - alive.keys()
        for key in self._ended - self._vms.keys():
            self._vms[key] = Vm(f"pid {key.pid}", "", key.pid)
        return set(self._ended)

    def add(self, keys: Iterable[VmKey]) -> None:
        """Look up those that are new."""
        new = set(keys) - self._vms.keys()
        if new:
            self.refresh(self._vms.keys() | new)

    def __getitem__(self, key: VmKey) -> Vm:
        return self._vms[key]


def matches(vm: Vm, wanted: Iterable[str]) -> bool:
    """Whether a VM is among those wanted by name, uuid or pid; all are where none is wanted.

    >>> vm = Vm("db", "6f9619ff-8b86-d011-b42d-00c04fc964ff", 77)
    >>> matches(vm, ["web", "77"]), matches(vm, []), matches(vm, ["web"])
    (True, True, False)
    """
    words = tuple(wanted)
    return not words or any(is_called(vm, word) for word in words)
