"""Which unmap a shadow fault makes good: for the arrows between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nvscope.analysis.interop.ranges import Ranges

T = TypeVar("T")

MAX_MAPPINGS = 1 << 20  # followed at one time; of more there are no arrows


@dataclass
class _Mmu(Generic[T]):
    live: Ranges[None] = field(default_factory=Ranges)
    owed: Ranges[T] = field(default_factory=Ranges)


class Refaults(Generic[T]):
    """Follows what shadow MMUs map. T: what a user calls an unmap.

    >>> refaults = Refaults[str]()
    >>> refaults.mapped(1, 0, 4096)
    set()
    >>> refaults.unmapped(1, 0, 4096, "the unmap")
    >>> refaults.mapped(1, 0, 4096)
    {'the unmap'}
    """

    def __init__(self) -> None:
        self._mmus: dict[int, _Mmu[T]] = {}
        self._count = 0

    def mapped(self, mmu: int, nested_ipa: int, size: int) -> set[T]:
        """Something is mapped: the unmaps that took some of it."""
        if self._count >= MAX_MAPPINGS:
            return set()
        state = self._mmus.setdefault(mmu, _Mmu())
        end = nested_ipa + size
        back = {part.value for part in state.owed.cut(nested_ipa, end)}
        self._count += 1 - len(state.live.take(nested_ipa, end))
        state.live.add(nested_ipa, end, None)
        return back

    def unmapped(self, mmu: int, nested_ipa: int, size: int, unmap: T | None) -> None:
        """An unmap; None for one after which nothing has to come back."""
        state = self._mmus.get(mmu)
        if state is None:
            return
        taken = state.live.take(nested_ipa, nested_ipa + size)
        self._count -= len(taken)
        if unmap is None:
            state.owed.cut(nested_ipa, nested_ipa + size)
        else:
            for part in taken:
                state.owed.add(part.start, part.end, unmap)

    def gone(self, mmus: Iterable[int]) -> None:
        """These MMUs are no more."""
        for mmu in mmus:
            state = self._mmus.pop(mmu, None)
            self._count -= len(state.live) if state else 0
