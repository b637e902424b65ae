"""Shadow unmaps within notifier unmaps, and what it costs to fault back in what they took."""

from __future__ import annotations

import heapq
from dataclasses import astuple, dataclass

import numpy as np

from nvscope.analysis.report.measures.latency import Latency

MAX_WORST = 15  # unmaps that the page lists
_CHUNK = 4096


@dataclass(eq=False, slots=True)
class MeasuredUnmap:
    """One shadow unmap within a notifier unmap of [canonical_ipa, +canonical_size).

    vm: its number; taken_bytes: of mappings that it took, needed_bytes: of those among them that
    led into the notifier's range; owed_bytes: not back yet; refault_ns: time of the shadow faults
    that brought the rest back; back_ns: when the last of it came (0: not all has).
    """

    time_ns: int
    vm: int
    mmu: int
    full: bool
    nested_ipa: int
    size: int
    canonical_ipa: int = 0
    canonical_size: int = 0
    reason: str = ""
    taken: int = 0
    taken_bytes: int = 0
    needed_bytes: int = 0
    owed_bytes: int = 0
    duration_ns: int = 0
    refaults: int = 0
    refault_ns: int = 0
    back_ns: int = 0

    @property
    def scope(self) -> str:
        """ "full" or "ranged"."""
        return "full" if self.full else "ranged"


@dataclass
class Cost:
    """Sums over the notifiers' shadow unmaps of one scope."""

    unmaps: int = 0
    took_nothing: int = 0
    taken_bytes: int = 0
    needed_bytes: int = 0
    back: int = 0  # unmaps of which all has come back
    refaults: int = 0
    refault_ns: int = 0


class Costs:
    """What the notifiers' shadow unmaps took and what it cost; holds on to the worst only.

    refaults: scope -> refault time of each unmap, of those that have any.
    """

    def __init__(self) -> None:
        self.scopes = {"full": Cost(), "ranged": Cost()}
        self.refaults = {"full": Latency(), "ranged": Latency()}
        self._open: set[MeasuredUnmap] = set()
        self._worst: list[tuple[int, int, MeasuredUnmap]] = []
        self._chunks: dict[str, list[int]] = {"full": [], "ranged": []}
        self._closed = 0

    @property
    def both(self) -> Cost:
        """Of either scope together."""
        return Cost(*map(sum, zip(*map(astuple, self.scopes.values()), strict=True)))

    def opened(self, unmap: MeasuredUnmap) -> None:
        """All that it took is known."""
        cost = self.scopes[unmap.scope]
        cost.unmaps += 1
        cost.taken_bytes += unmap.taken_bytes
        cost.needed_bytes += unmap.needed_bytes
        if unmap.taken:
            self._open.add(unmap)
        else:
            cost.took_nothing += 1

    def refaulted(self, unmap: MeasuredUnmap, cost_ns: int) -> None:
        """A fault has brought back some of it."""
        unmap.refaults += 1
        unmap.refault_ns += cost_ns
        if unmap.owed_bytes <= 0:
            self.close(unmap)

    def close(self, unmap: MeasuredUnmap) -> None:
        """No more of it is going to come back; for those still open: finish()."""
        if unmap not in self._open:
            return
        self._open.discard(unmap)
        cost = self.scopes[unmap.scope]
        cost.back += unmap.back_ns > 0
        cost.refaults += unmap.refaults
        cost.refault_ns += unmap.refault_ns
        self._closed += 1
        item = (unmap.refault_ns, -self._closed, unmap)
        if len(self._worst) < MAX_WORST:
            heapq.heappush(self._worst, item)
        else:
            heapq.heappushpop(self._worst, item)
        if not unmap.refault_ns:
            return
        chunk = self._chunks[unmap.scope]
        chunk.append(unmap.refault_ns)
        if len(chunk) >= _CHUNK:
            self._flush(unmap.scope)

    def finish(self) -> None:
        """The trace is over."""
        for unmap in sorted(self._open, key=lambda unmap: unmap.time_ns):
            self.close(unmap)
        for scope in self.scopes:
            self._flush(scope)

    def worst(self) -> list[MeasuredUnmap]:
        """The dearest first; those that cost nothing are not there."""
        ordered = sorted(self._worst, key=lambda item: item[:2], reverse=True)
        return [unmap for _, _, unmap in ordered if unmap.refault_ns]

    def _flush(self, scope: str) -> None:
        self.refaults[scope].add(np.array(self._chunks[scope], np.uint64))
        self._chunks[scope].clear()
