"""What a VMM's process tells of its VM. /proc is where psutil reads it."""

from __future__ import annotations

import os

import psutil

from nvscope.probes.vms import names


def name_and_uuid(pid: int) -> tuple[str, str]:
    """Return what the VM of a process is called, safe for labels, and its uuid or "".

    What may not be read is left out. Raises psutil.NoSuchProcess where there is none.
    """
    process = psutil.Process(pid)
    command, cmdline = "", []
    try:
        command = process.name()
        cmdline = process.cmdline()
    except (psutil.AccessDenied, psutil.ZombieProcess):
        pass  # /proc mounted with hidepid=; or the first thread ended before the others
    file = _file(pid)
    return names.vm_name(cmdline, command, file), names.vm_uuid(cmdline, command, file)


def _file(pid: int) -> str:
    """What the process runs, "" where we may not know; the kernel marks a deleted file."""
    try:
        return os.readlink(f"{psutil.PROCFS_PATH}/{pid}/exe")  # noqa: PTH115
    except OSError:
        return ""
