"""What the programs' maps have room for."""

from __future__ import annotations

from dataclasses import dataclass

from nvscope.probes.counts import decode, pools
from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.libbpf import MapKind

# VMs that can have counters, where nothing else is asked for.
DEFAULT_MAX_VMS = 1024
# Shadow MMUs that a VM has room for on average: two for each vCPU (S2_MMU_PER_VCPU, nested.c).
MMUS_PER_VM = 64
# The places of vCPUs (bpf/vcpus.h): of all of them a power of two, of each 64. What can be mapped
# begins at a page, so each is a cache line.
VCPUS_BYTES = 64 << 10
VCPUS = MapKind(libbpf.MAP_TYPE_ARRAY, 4, VCPUS_BYTES, libbpf.F_MMAPABLE)


@dataclass(frozen=True)
class Sizes:
    """What there is room for. vms: those that can have counters; ring_bytes: of the ring buffer for
    events, a power of two times the page size.
    """

    vms: int
    ring_bytes: int = 0


def rows(sizes: Sizes) -> int:
    """How many rows the VMs can have: one for each kind of call, and as many to share out among
    stripes of CPUs.
    """
    return sizes.vms * len(decode.LABELS) * pools.SHARES


def mmus(sizes: Sizes) -> int:
    """How many shadow MMUs there is room for."""
    return sizes.vms * MMUS_PER_VM


def capacity(sizes: Sizes) -> dict[str, int]:
    """The values of the arrays that are given out, by name."""
    return {"rows": rows(sizes), "mmus": mmus(sizes)}
