"""Many VMs of one process that share their memory: taking back one page is an unmap for each.

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

from nvscope.lab.workloads.kvm import Vm
from nvscope.lab.workloads.memory import address_of, populated
from nvscope.lab.workloads.stage2 import BLOCK_BYTES

FILES_PER_VM = 2  # /dev/kvm and the VM
OTHER_FILES = 64
IPA = 0x8000_0000


@click.command()
@click.option("-name", "--name", required=True, help="The VMs' name, as on QEMU's command line.")
@click.argument("count", type=click.IntRange(1, 10_000))
def main(name: str, count: int) -> None:
    """Make COUNT VMs that run nothing, and take a page back from all of them at once."""
    files = count * FILES_PER_VM + OTHER_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    memory = populated(BLOCK_BYTES)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            vm = Vm()
            stack.callback(vm.close)
            vm.set_memory(IPA, address_of(memory), BLOCK_BYTES)
        memory.madvise(mmap.MADV_DONTNEED, 0, mmap.PAGESIZE)
        print(json.dumps({"name": name, "vms": count, "unmaps": count}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
