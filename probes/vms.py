"""The VMs that run on this host now: whose process holds one open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import psutil

from nvscope.probes import kvmfiles, names
from nvscope.probes.errors import LackError
from nvscope.probes.identity import Vm


def running() -> list[Vm]:
    """All of them, each under the name that it was given: two may have the same.

    Complexity: one look at each open file of the host.
    """
    return [vm for pid in psutil.pids() if kvmfiles.has_vm(pid) for vm in _vm(pid)]


def find(wanted: str) -> Vm:
    """The VM of that name, uuid or pid. Raises LackError where no VM runs; else as `among` does."""
    vms = running()
    if not vms:
        raise LackError("no VM is running on this host: start one, or run as root to see it")
    return among(vms, wanted)


def among(vms: Sequence[Vm], wanted: str) -> Vm:
    """The one of that name, uuid or pid. Raises UsageError where there is none, or two."""
    found = [vm for vm in vms if wanted in (vm.label, vm.uuid, str(vm.pid))]
    if not found:
        there = ", ".join(sorted({vm.label for vm in vms}))
        raise click.UsageError(f"there is no VM {wanted}; there are {there}")
    if len(found) > 1:
        pids = " or ".join(str(vm.pid) for vm in found)
        raise click.UsageError(f"{len(found)} VMs are named {wanted}: give a pid, {pids}")
    return found[0]


def _vm(pid: int) -> Iterator[Vm]:
    """The process's VM; nothing if it has just ended."""
    try:
        process = psutil.Process(pid)
        command, cmdline = process.name(), process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
    yield Vm(names.vm_name(cmdline, command), names.vm_uuid(cmdline, command), pid)
