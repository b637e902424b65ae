"""Many VMs of one process, each with a page of its memory, which is taken back from it.

Run as `python3 -m nvscope.lab.workloads.manyvms -name many 1100`. Says what it did as a line of
JSON; the VMs stay until stdin is closed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import resource
import sys

import click

from nvscope.lab.workloads.vmm.kvm import Vm
from nvscope.lab.workloads.vmm.memory import address_of, populated
from nvscope.lab.workloads.vmm.stage2 import HOST

FILES_PER_VM = 2  # /dev/kvm and the VM
OTHER_FILES = 64
IPA = 0x8000_0000


@click.command()
@click.option("-name", "--name", required=True, help="The VMs' name, as on QEMU's command line.")
@click.argument("count", type=click.IntRange(1, 10_000))
def main(name: str, count: int) -> None:
    """Make COUNT VMs that run nothing, and take a page back from each."""
    files = count * FILES_PER_VM + OTHER_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    size = -(-count * mmap.PAGESIZE // HOST.block_bytes) * HOST.block_bytes
    memory = populated(size)
    with contextlib.ExitStack() as stack:
        for number in range(count):
            vm = Vm()
            stack.callback(vm.close)
            vm.set_memory(IPA, address_of(memory) + number * mmap.PAGESIZE, mmap.PAGESIZE)
        # One by one: all at once would be more new rows than BPF's allocator has at hand.
        for number in range(count):
            memory.madvise(mmap.MADV_DONTNEED, number * mmap.PAGESIZE, mmap.PAGESIZE)
        print(json.dumps({"name": name, "vms": count, "unmaps": count}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
