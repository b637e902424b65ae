"""The files of KVM that a process holds open: VMs and vCPUs. /proc is where psutil reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

# What they are called (virt/kvm/kvm_main.c: kvm_dev_ioctl_create_vm, create_vcpu_fd; a vCPU's
# statistics are kvm-vcpu-stats:N).
_VM = "anon_inode:kvm-vm"
_VCPU = "anon_inode:kvm-vcpu:"


def has_vm(pid: int) -> bool:
    """Whether the process has a VM open. Complexity: one look at each of its open files."""
    try:
        return any(link == _VM for link in _links(pid))
    except OSError:  # it has just ended, or is another user's
        return False


def vcpus(pid: int) -> int | None:
    """How many vCPUs it has open, of all its VMs; None where its files may not be looked at."""
    try:
        return sum(link.startswith(_VCPU) for link in _links(pid))
    except OSError:
        return None


def _links(pid: int) -> Iterator[str]:
    folder = f"{psutil.PROCFS_PATH}/{pid}/fd"
    for name in os.listdir(folder):  # noqa: PTH208 (Path costs several times as much, a VM has 100)
        try:
            yield os.readlink(f"{folder}/{name}")  # noqa: PTH115
        except FileNotFoundError:  # it was closed meanwhile
            continue
