"""The VMs that run on this host now: whose process holds one open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import psutil

from nvscope.probes.errors import LackError
from nvscope.probes.vms import kvmfiles, vmm_process
from nvscope.probes.vms.identity import Vm


def running() -> list[Vm]:
    """All of them, each under the name that it was given: two may have the same.

    Complexity: one look at each open file of the host.
    """
    return [vm for pid in psutil.pids() if kvmfiles.has_vm(pid) for vm in _vm(pid)]


def find(wanted: str) -> Vm:
    """The VM of that name, uuid or pid. Raises LackError where no VM runs; else as `among` does."""
    require_word(wanted)
    vms = running()
    if not vms:
        raise LackError("no VM is running on this host: start one, or run as root to see it")
    return among(vms, wanted)


def require_word(wanted: str) -> None:
    """Raise UsageError where nothing was given, as by a variable that is not set."""
    if not wanted.strip():
        raise click.UsageError("the VM that is asked for has no name: give its name, uuid or pid")


def is_called(vm: Vm, wanted: str) -> bool:
    """Whether that is its name, its uuid or its pid; none of them is "".

    >>> [is_called(Vm("db", "", 77), word) for word in ("db", "77", "", "7")]
    [True, True, False, False]
    """
    return wanted != "" and wanted in (vm.label, vm.uuid, str(vm.pid))


def among(vms: Sequence[Vm], wanted: str) -> Vm:
    """The one of that name, uuid or pid. Raises UsageError where there is none, or two."""
    require_word(wanted)
    found = [vm for vm in vms if is_called(vm, wanted)]
    if not found:
        there = ", ".join(sorted({vm.label for vm in vms}))
        raise click.UsageError(f"there is no VM {wanted}; there are {there}")
    if len(found) > 1:
        raise click.UsageError(_ambiguous(vms, found, wanted))
    return found[0]


def _ambiguous(vms: Sequence[Vm], found: Sequence[Vm], wanted: str) -> str:
    """Which VMs are meant, and what each of them is called that no other is."""
    words = " or ".join(_own_word(vms, vm) for vm in found)
    if all(vm.label == wanted for vm in found):
        return f"{len(found)} VMs are named {wanted}: give a pid, {words}"
    those = " or ".join(f"VM {vm.label} (pid {vm.pid})" for vm in found)
    return f"{wanted} can be {those}: give {words}"


def _own_word(vms: Sequence[Vm], vm: Vm) -> str:
    """What it alone is called: its pid, where no other VM is named so, else uuid or name."""
    words = [str(vm.pid), vm.uuid, vm.label]
    own = (word for word in words if word and sum(is_called(each, word) for each in vms) == 1)
    return next(own, f"pid {vm.pid} (which is another's name as well)")


def _vm(pid: int) -> Iterator[Vm]:
    """The process's VM; nothing if it has just ended."""
    try:
        yield Vm(*vmm_process.name_and_uuid(pid), pid)
    except psutil.NoSuchProcess:
        return
