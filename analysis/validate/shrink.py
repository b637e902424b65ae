"""The shortest sub-trace that still shows a finding: delta debugging (Zeller's ddmin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# Rows run through the model for one finding, in all; about two seconds.
MAX_WORK = 400_000


class Budget:
    """How much work is left; spent: it was not enough."""

    def __init__(self, work: int = MAX_WORK) -> None:
        self._left = work
        self.spent = False

    def take(self, work: int) -> bool:
        """Whether there is so much left."""
        self._left -= work
        self.spent = self.spent or self._left < 0
        return not self.spent


def ddmin(items: Sequence[T], shows: Callable[[Sequence[T]], bool], budget: Budget) -> Sequence[T]:
    """Leave out items as long as what is left still `shows`; 1-minimal if the budget lasts.

    >>> ddmin(range(100), lambda left: {3, 70} <= set(left), Budget())
    [3, 70]
    """
    left = list(items)
    pieces = 2
    while len(left) >= 2:
        size = -(-len(left) // pieces)
        for start in range(0, len(left), size):
            without = left[:start] + left[start + size :]
            if not budget.take(len(without)):
                return left
            if without and shows(without):
                left, pieces = without, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                return left
            pieces = min(2 * pieces, len(left))
    if left and budget.take(1) and shows([]):
        return []
    return left
