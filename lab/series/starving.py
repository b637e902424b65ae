"""Allocations that fail: the kernel's own fault injection, for processes that ask for it."""

from __future__ import annotations

# What the lab's reverse maps are made of: nodes of a maple tree, tracked mappings.
SLABS = ("maple_node", "kmalloc-cg-96")
PROBABILITY = 50  # percent


def script(probability: int, *, of_ours: bool) -> str:
    """A shell script that sets it up, as root; 0 ends it.

    Documentation/fault-injection/fault-injection.rst of the kernel. Only allocations that may not
    wait fail, in tasks whose /proc/self/make-it-fail is 1: those of the lab's reverse maps
    (of_ours), or of all caches, where nobody knows what a reverse map is made of.
    """
    settings = {
        "cache-filter": "Y" if of_ours else "N",
        "task-filter": "Y",
        "ignore-gfp-wait": "Y",
        "verbose": 0,
        "times": -1,
        "interval": 1,
        "space": 0,
        "probability": probability,
    }
    lines = ["set -e"]
    if of_ours:
        lines += [f"echo 1 > /sys/kernel/slab/{slab}/failslab" for slab in SLABS]
    lines += [f"echo {value} > /sys/kernel/debug/failslab/{key}" for key, value in settings.items()]
    return "\n".join(lines)
