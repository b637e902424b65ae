"""What the programs' maps take of the kernel's memory, and whether this host has as much."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from pathlib import Path

import click

from nvscope.probes.counts import decode
from nvscope.probes.errors import LackError
from nvscope.probes.points.sizes import DEFAULT_MAX_VMS, Sizes, mmus, rows

# struct bucket (kernel/bpf/hashtab.c): a list's head and a lock, one for each entry that there is
# room for, rounded up to a power of two; they are taken when the map is made.
_BUCKET_BYTES = 16
# Of the indexes' entries: struct htab_elem (48 bytes), the key and the value; those of shadow MMUs
# are allocated one by one, and rounded up.
_ROW_ENTRY_BYTES, _MMU_ENTRY_BYTES = 48 + 16 + 8, 96
_FREE_BYTES = 8  # of a stack's entry: struct nv_range
# More than that is said, and no more than a quarter of the host's memory may be asked for.
_LARGE_BYTES, _SHARE = 64 << 20, 4


@dataclass(frozen=True)
class Memory:
    """Bytes of the host's memory: all of it, and what could be had now without swapping."""

    total: int
    available: int


@dataclass(frozen=True)
class Use:
    """Bytes of the kernel's memory. at_once: taken when the maps are made; full: taken when as many
    VMs have been seen as there is room for, with all that a VM can have.
    """

    at_once: int
    full: int


def use(sizes: Sizes) -> Use:
    """What the maps take, whatever the number of CPUs.

    >>> use(Sizes(vms=1024))
    Use(at_once=29622272, full=35913728)
    """
    entries = {"rows": rows(sizes), "mmus": mmus(sizes)}
    buckets = sum(_BUCKET_BYTES << (n - 1).bit_length() for n in entries.values())
    row_bytes = decode.ROW_BYTES + _ROW_ENTRY_BYTES + _FREE_BYTES
    states = entries["mmus"] * (decode.MMU_BYTES + _FREE_BYTES)
    at_once = buckets + entries["rows"] * row_bytes + states
    return Use(at_once, at_once + entries["mmus"] * _MMU_ENTRY_BYTES)


def require(sizes: Sizes, proc: Path = Path("/proc")) -> None:
    """Say what the maps take, where it is much. Raises LackError where the host has not as much.

    What most hosts are given is never refused. What the maps may grow to is held against all of the
    memory: hosts have little left when their VMs run, and must be able to start the exporter anew.
    """
    asked = use(sizes)
    if sizes.vms <= DEFAULT_MAX_VMS or asked.full <= _LARGE_BYTES:
        return
    memory = read_memory(proc)
    if memory and (why := _lack(asked, memory)):
        fitting = bisect.bisect_left(
            range(1, sizes.vms),
            True,
            lo=DEFAULT_MAX_VMS,
            key=lambda vms: bool(_lack(use(Sizes(vms)), memory)),
        )
        raise LackError(f"the maps for --max-vms {sizes.vms} {why}; give at most {fitting}")
    click.echo(
        f"nvscope: the maps take {_mib(asked.at_once)} of the kernel's memory, and up to"
        f" {_mib(asked.full)} with the counts of {sizes.vms} VMs (--max-vms)",
        err=True,
    )


def read_memory(proc: Path) -> Memory | None:
    """What /proc/meminfo says (proc_meminfo(5): in KiB), or None."""
    try:
        text = (proc / "meminfo").read_text()
    except OSError:
        return None
    kib = dict(re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE))
    try:
        return Memory(int(kib["MemTotal"]) << 10, int(kib["MemAvailable"]) << 10)
    except KeyError:
        return None


def _lack(asked: Use, memory: Memory) -> str:
    """Why it is too much, or ""."""
    if asked.at_once * _SHARE > memory.available:
        return (
            f"take {_mib(asked.at_once)} of the kernel's memory at once, more than a quarter of"
            f" the {_mib(memory.available)} that this host has left"
        )
    if asked.full * _SHARE > memory.total:
        return (
            f"can grow to {_mib(asked.full)} of the kernel's memory, more than a quarter of the"
            f" {_mib(memory.total)} that this host has"
        )
    return ""


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.0f} MiB"
