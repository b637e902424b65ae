"""What the kernel tells of our BPF programs: how often each ran, for how long, and was skipped.

Who attached them asks by their descriptors. Readers of the pins have an iterator instead, which is
read as a file is (bpf/stats.c): whoever holds a tracing program's descriptor may attach it again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.btf import Btf

SOURCE = Path(__file__).parents[1] / "bpf" / "stats.c"
# For bcc the name says what it iterates over; the map of the ids of the programs that it tells.
PROGRAM, OURS = b"bpf_iter__bpf_prog", "ours"
# struct nv_stats: runs, time_ns, misses, id.
RECORD = struct.Struct("=QQQIxxxx")

# An array: for each CPU, where its copies of per-CPU variables are, from their addresses.
_PER_CPU_OFFSET = "__per_cpu_offset"
# C name -> (struct, member), include/linux/filter.h and bpf.h of the kernel.
_MEMBERS = {
    "PROG_AUX": ("bpf_prog", "aux"),
    "PROG_STATS": ("bpf_prog", "stats"),
    "AUX_ID": ("bpf_prog_aux", "id"),
    "STATS_RUNS": ("bpf_prog_stats", "cnt"),
    "STATS_TIME": ("bpf_prog_stats", "nsecs"),
    "STATS_MISSES": ("bpf_prog_stats", "misses"),
    "META_SEQ": ("bpf_iter_meta", "seq"),
}


@dataclass(frozen=True)
class Stats:
    """Of one program. runs, time_ns: while kernel.bpf_stats_enabled is 1; misses: how often the
    kernel did not run it, because it was running already on that CPU.
    """

    runs: int
    time_ns: int
    misses: int


# By name, "s2_fault_exit" for one; raises OSError.
AllStats = Callable[[], Mapping[str, Stats]]


def attach(iterator: int, ours: int, programs: Mapping[str, int]) -> int:
    """Have the iterator tell of these programs; the link's fd. All but the result: fds."""
    for fd in programs.values():
        libbpf.write_hash(ours, libbpf.program_id(fd), 1)
    return libbpf.link_iterator(iterator)


def by_descriptors(programs: Mapping[str, int]) -> AllStats:
    """Of programs whose descriptors are ours; name -> fd."""
    return lambda: {name: Stats(*libbpf.run_stats(fd)) for name, fd in programs.items()}


def by_pin(path: Path, programs: Mapping[str, int]) -> AllStats:
    """Of programs that another has attached; name -> id. path: the iterator's pin."""
    names = {number: name for name, number in programs.items()}

    def read() -> dict[str, Stats]:
        records = RECORD.iter_unpack(path.read_bytes())
        return {names[number]: Stats(*told) for *told, number in records if number in names}

    return read


@dataclass(frozen=True)
class Telling:
    """The iterator, for the compiler; problem: why there is none, or ""."""

    sources: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()
    problem: str = ""


NOTHING = Telling()


def telling(btf: Btf, address: Callable[[str], int]) -> Telling:
    """For this kernel. address: of one of its symbols, 0 where nobody tells."""
    offsets = address(_PER_CPU_OFFSET)
    if not offsets:
        why = f"/proc/kallsyms does not tell where {_PER_CPU_OFFSET} is (that takes CAP_SYSLOG)"
        return Telling(problem=why)
    try:
        found = {name: btf.offset(*member) for name, member in _MEMBERS.items()}
    except KeyError as error:
        return Telling(problem=f"this kernel has no {error.args[0]}")
    flags = (
        f"-DNV_CPUS={libbpf.possible_cpus()}",
        f"-DNV_PER_CPU_OFFSET={offsets:#x}ULL",
        *(f"-DNV_OFFSET_{name}={offset}" for name, offset in found.items()),
    )
    return Telling((SOURCE,), flags)
