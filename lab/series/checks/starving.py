"""Allocations that fail: the kernel's own fault injection, for processes that ask for it."""

from __future__ import annotations

PROBABILITY = 50  # percent
# Kind of reverse map, of the lab's -> the cache of what it is made of: a tree's node, or a struct
# kvm_guest_s2_mapping (96 bytes).
SLABS = {"maple": "maple_node", "tracking": "kmalloc-cg-96"}
ANY = "*"  # all caches, where nobody knows what a reverse map is made of


def script(probability: int, slab: str) -> str:
    """A shell script that sets it up, as root; a probability of 0 ends it.

    Documentation/fault-injection/fault-injection.rst of the kernel. Allocations from a cache (or
    ANY) that may not wait fail, in tasks whose /proc/self/make-it-fail is 1.
    """
    settings = {
        "cache-filter": "N" if slab == ANY else "Y",
        "task-filter": "Y",
        "ignore-gfp-wait": "Y",
        "verbose": 0,
        "times": -1,
        "interval": 1,
        "space": 0,
        "probability": probability,
    }
    lines = ["set -e"]
    if slab != ANY:
        lines.append(f"echo 1 > /sys/kernel/slab/{slab}/failslab")
    lines += [f"echo {value} > /sys/kernel/debug/failslab/{key}" for key, value in settings.items()]
    return "\n".join(lines)
