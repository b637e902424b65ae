"""Lives of VMs on a simulated kernel, each made from a number; of wrong kernels, too."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, PAGES, TOP
from tests.unit.analysis.traces import M1, M2, VM, VM2, Events, booted

M3 = M1 + 0x100000  # of VM2
# What other kernels have no rows of.
DECISIONS = ("record", "broken", "fallback")


def simulated(seed: int, steps: int, revmap: str = "maple-v2") -> Events:
    """A long life of two VMs: mostly plain, sometimes anything at all."""
    chance = random.Random(seed)
    kernel = booted(revmap)
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M3)
    sizes = chance.choice([(PAGE,), (PAGE, PAGE, PAGE, BLOCK), (PAGE, BLOCK, HUGE)])
    shift = chance.choice([0, 7 * HUGE])
    odd = chance.choice([0.0, 0.02, 0.2])

    def step(kvm: int, mmu: int, depth: int) -> None:
        size = chance.choice(sizes)
        nested, canonical = chance.choice(PAGES) & -size, chance.choice(PAGES) & -size
        if chance.random() > odd:
            canonical = (nested + shift) % (1 << 50) & -size  # one to one: no overlaps
        tid = 40 + depth + (0 if kvm == VM else 100)
        what = chance.random()
        gap = (lambda: step(kvm, mmu, depth + 1)) if chance.random() < odd and depth < 3 else None
        how: dict[str, Any] = {"gap": gap} if gap else {}
        if what < 0.6:
            result = 0 if chance.random() > odd else -11
            fails = chance.random() < odd / 8
            kernel.fault(kvm, mmu, nested, canonical, size, tid=tid, result=result, fails=fails)
        elif what < 0.85:
            span = chance.choice([size, size, 2 * PAGE, BLOCK + PAGE, 2 * HUGE])
            kernel.notifier(kvm, canonical, span, tid, **how)
        elif what < 0.95:
            kernel.tlbi(kvm, mmu, nested, chance.choice([PAGE, BLOCK, HUGE]), tid)
        elif what < 0.98:
            kernel.recycle(kvm, mmu, tid=tid, **how)  # no task recycles while it recycles
        elif chance.random() < odd and revmap != "none":
            wanted = [(nested, canonical, size, False), (nested, canonical, size, False)]
            kernel.faults_at_once(kvm, mmu, wanted)

    for _ in range(steps):
        kvm, mmu = chance.choice([(VM, M1), (VM, M2), (VM2, M3)])
        step(kvm, mmu, 0)
    return kernel.events


def altered(rows: Events, chance: random.Random) -> Events:
    """What a wrong kernel does, once in a while: a notifier's unmap is another, or is not made."""
    changed: Events = []
    where: dict[int, Event | None] = {}  # of a task: what its unmap became
    for event in rows:
        if event.kind == "unmap_begin" and event.detail == "notifier" and chance.random() < 0.3:
            where[event.tid] = chance.choice(
                [
                    None,
                    replace(event, size=chance.choice([PAGE, BLOCK, HUGE]), full=False),
                    replace(event, nested_ipa=event.nested_ipa & -BLOCK, size=2 * BLOCK),
                    replace(event, nested_ipa=0, size=TOP, full=True),
                ]
            )
        if event.kind in ("unmap_begin", "unmap_end") and event.tid in where:
            new = where[event.tid]
            if event.kind == "unmap_end":
                del where[event.tid]
            if new is not None:
                changed.append(replace(new, kind=event.kind, time_ns=event.time_ns))
        else:
            changed.append(event)
    return changed


def without_decisions(rows: Events) -> dict[int, Event]:
    """As a kernel would show it whose decisions cannot be seen; the rows keep their numbers."""
    return {row: event for row, event in enumerate(rows) if event.kind not in DECISIONS}
