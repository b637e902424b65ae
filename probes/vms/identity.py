"""Which VM a `struct kvm` is: a name that people know, for as long as its process lives.

The probes know a VM by its `struct kvm *` and kvm->userspace_pid, which is the thread that
created it, by its number in the initial pid namespace (virt/kvm/kvm_main.c, kvm_create_vm).
/proc is read where psutil.PROCFS_PATH says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.vms import kvmfiles, names, vmm_process

# Inode of the initial pid namespace: PROC_PID_INIT_INO, include/linux/proc_ns.h.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

# Fields of /proc/PID/stat after the command, proc_pid_stat(5): (3) state, (20) num_threads,
# (22) starttime in clock ticks since boot.
_STATE, _THREADS, _START = 3 - 3, 20 - 3, 22 - 3

# What reading of a process raises that is not there, or hidden (hidepid=1). Any other failure, as
# of too many open files, is no end of a VM.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)

# VMs whose vCPUs are counted again at each refresh: some 100 open files each, of 1 us or so.
_COUNTED_AGAIN = 16


@dataclass(frozen=True)
class Vm:
    """A VM in the metrics. label: unique among the VMs alive; pid: of its process.

    vcpus: how many vCPUs the process has open; None where that may not be read.
    """

    label: str
    uuid: str
    pid: int
    vcpus: int | None = field(default=None, compare=False)  # may change: hot-plug


# Stands for all VMs past a bound, which have no name of their own.
OTHER = Vm("other", "", 0)


@dataclass(frozen=True)
class Process:
    """A process, told from a later one of the same pid. start: clock ticks since boot."""

    start: int
    pid: int

    def alive(self) -> bool:
        """Whether it still runs: it is neither gone nor a zombie."""
        return _look(self.pid) == self


def require_initial_pid_namespace() -> None:
    """Raise LackError in a pid namespace of our own: every VM would look as if it had ended."""
    if problem := pid_namespace_problem(_proc()):
        raise LackError(problem)


def pid_namespace_problem(proc: Path) -> str:
    """Why VMs cannot be told from here, or ""."""
    try:
        inode = (proc / "self/ns/pid").stat().st_ino
    except FileNotFoundError:  # a kernel without CONFIG_PID_NS has no other namespace
        return ""
    if inode == _INITIAL_PID_NAMESPACE:
        return ""
    return (
        "cannot tell which process a VM belongs to: this is not the initial pid namespace;"
        " run on the host, or the container with the host's pid namespace"
    )


class Identities:
    """The VMs alive and their labels. A label stays with its VM; of two VMs of one name the
    older keeps the plain name."""

    def __init__(self, most: int | None = None) -> None:
        """most: VMs that get a name of their own at a time, the older ones first. Those past it
        are OTHER as long as they live, and no VM's own name is that. None: all get one."""
        self._known: dict[VmKey, tuple[Process, Vm]] = {}
        self.most = most

    def refresh(self, keys: Iterable[VmKey]) -> dict[VmKey, Vm]:
        """Return those of keys whose process is alive; what is not among keys is forgotten.

        Where it raises OSError, nothing has changed; a shallow copy's refresh changes the copy
        alone.
        O(n) reads of /proc for n VMs, two more for each new one.
        """
        wanted = set(keys)
        before = self._known
        known = {
            key: (process, vm)
            for key, (process, vm) in before.items()
            if key in wanted and process.alive()
        }
        _count_again(known)
        # What has just ended is not looked up again here: its pid may have a new owner by now,
        # and the counts are still those of the VM that ended.
        new = wanted - before.keys()
        found = [(process, key) for key in new if (process := _owner(key))]
        own = {vm.label for _, vm in known.values() if vm is not OTHER}
        for process, key in sorted(found, key=lambda f: (f[0].start, f[0].pid, f[1].kvm)):
            vm = self._name(process, own)
            if vm is not None:
                known[key] = (process, vm)
            if vm is not None and vm is not OTHER:
                own.add(vm.label)
        self._known = known
        return {key: vm for key, (_, vm) in known.items()}

    def forget(self, keys: Iterable[VmKey]) -> None:
        """Take these for unknown: the next refresh looks them up."""
        for key in keys:
            self._known.pop(key, None)

    def processes(self) -> dict[VmKey, Process]:
        """The processes of the VMs that the last refresh returned."""
        return {key: process for key, (process, _) in self._known.items()}

    def _name(self, process: Process, own: set[str]) -> Vm | None:
        """Who a new VM is; None if its process has just ended. own: the names that are taken."""
        if self.most is None:
            return _describe(process, own)
        return OTHER if len(own) >= self.most else _describe(process, own | {OTHER.label})


def _count_again(known: dict[VmKey, tuple[Process, Vm]]) -> None:
    """Look at the vCPUs of some VMs, each in its turn: hot-plug is rare, and looks are dear."""
    own = [key for key, (_, vm) in known.items() if vm is not OTHER]
    for key in own[:_COUNTED_AGAIN]:
        process, vm = known.pop(key)
        known[key] = process, replace(vm, vcpus=kvmfiles.vcpus(process.pid))


def _proc() -> Path:
    return Path(psutil.PROCFS_PATH)


def _owner(key: VmKey) -> Process | None:
    """The process that the thread key.pid belongs to, or None if there is none (any more)."""
    try:
        status = (_proc() / str(key.pid) / "status").read_bytes()
    except _GONE:
        return None
    for line in status.splitlines():
        if line.startswith(b"Tgid:"):
            return _look(int(line.split()[1]))
    return None


def _look(pid: int) -> Process | None:
    """The live process that has this pid now."""
    try:
        stat = (_proc() / str(pid) / "stat").read_bytes()
    except _GONE:
        return None
    fields = stat[stat.rfind(b")") + 1 :].split()  # the command may hold spaces and ")"
    # A zombie has let go of its VM, unless it is a first thread that ended before the others.
    if fields[_STATE] in (b"Z", b"X") and int(fields[_THREADS]) <= 1:
        return None
    return Process(int(fields[_START]), pid)


def _describe(process: Process, taken: set[str]) -> Vm | None:
    """Name a process's VM; None if the process has just ended."""
    try:
        name, uuid = vmm_process.name_and_uuid(process.pid)
    except psutil.NoSuchProcess:
        return None
    vcpus = kvmfiles.vcpus(process.pid)
    if not process.alive():  # what was read may be of a later process of that pid
        return None
    return Vm(names.distinct(name, process.pid, taken), uuid, process.pid, vcpus)
