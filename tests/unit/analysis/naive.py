"""What notifiers did, told from a trace in the plainest way: a list of leaves for each MMU.

It shares nothing with the validator. Where calls overlap so that the rows do not tell what came
first, it raises UnclearError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nvscope.probes.traces.events import Event


class UnclearError(Exception):
    """Something was mapped while it was being unmapped."""


@dataclass(eq=False)
class Leaves:
    """A shadow MMU. leaves: (nested, canonical, size); open: unmaps under way; left: whether it was

    found unsafe since its last full unmap.
    """

    leaves: list[tuple[int, int, int]] = field(default_factory=list)
    open: int = 0
    left: bool = False


@dataclass
class Told:
    """unsafe: (row, mmu) where a notifier ended that had left something."""

    unsafe: list[tuple[int, int]] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)


def tell(trace: Mapping[int, Event]) -> Told:
    """Of a trace in which each VM begins. Raises UnclearError."""
    told = Told()
    mmus: dict[tuple[int, int], Leaves] = {}
    notifiers: dict[int, Event] = {}
    for row, event in trace.items():
        mmu = mmus.setdefault((event.kvm, event.mmu), Leaves())
        if event.kind in ("mmu_init", "mmu_free"):
            mmus[event.kvm, event.mmu] = Leaves()
        elif event.kind == "map" and event.result == 0:
            if mmu.open:
                raise UnclearError
            mmu.leaves = [leaf for leaf in mmu.leaves if not _meets(leaf[0], leaf[2], event)]
            mmu.leaves.append((event.nested_ipa, event.canonical_ipa, event.size))
        elif event.kind == "notifier_begin":
            notifiers[event.tid] = event
            told.figures["notifiers"] += 1
        elif event.kind == "unmap_begin":
            mmu.open += 1
            if event.tid in notifiers:
                told.figures["full_unmaps" if event.full else "ranged_unmaps"] += 1
        elif event.kind == "unmap_end":
            mmu.open -= 1
            _unmapped(told, mmu, event, notifiers.get(event.tid))
        elif event.kind == "notifier_end":
            del notifiers[event.tid]
            for (kvm, address), each in mmus.items():
                if kvm == event.kvm and address and not each.left and _leads(each, event):
                    if each.open:
                        raise UnclearError
                    each.left = True
                    told.unsafe.append((row, address))
    return told


def _unmapped(told: Told, mmu: Leaves, event: Event, notifier: Event | None) -> None:
    gone = [leaf for leaf in mmu.leaves if event.full or _meets(leaf[0], leaf[2], event)]
    mmu.leaves = [leaf for leaf in mmu.leaves if leaf not in gone]
    if notifier is not None:
        needed = [leaf for leaf in gone if _reaches(leaf, notifier)]
        figures = told.figures
        figures["unmapped"] += len(gone)
        figures["unmapped_bytes"] += sum(size for _, _, size in gone)
        figures["needed"] += len(needed)
        figures["needed_bytes"] += sum(size for _, _, size in needed)
        if needed:
            figures["needed_unmaps"] += 1
        elif not mmu.left:
            figures["needless_unmaps"] += 1
    mmu.left = mmu.left and not event.full


def _meets(nested: int, size: int, event: Event) -> bool:
    return nested < event.nested_ipa + event.size and event.nested_ipa < nested + size


def _reaches(leaf: tuple[int, int, int], notifier: Event) -> bool:
    _, canonical, size = leaf
    start, end = notifier.canonical_ipa, notifier.canonical_ipa + notifier.size
    return canonical < end and start < canonical + size


def _leads(mmu: Leaves, notifier: Event) -> bool:
    return any(_reaches(leaf, notifier) for leaf in mmu.leaves)
