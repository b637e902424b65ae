"""Counts and durations of whole batches of rows at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nvscope.analysis.report.measures.latency import SLOTS, Latency, slots
from nvscope.analysis.report.measures.timeline import Timeline
from nvscope.analysis.report.measures.vms import Vms
from nvscope.analysis.units import name
from nvscope.probes.traces.events import KINDS

# Series of durations -> what the page calls them; in its order.
SERIES: Mapping[str, str] = {
    "notifier": "notifier unmap",
    "full": "shadow unmap, full",
    "ranged": "shadow unmap, ranged",
    "canonical": "fault, canonical",
    "shadow": "fault, shadow",
    "record": "reverse map, record",
}

# Different texts that are told apart, of each kind; the rest is counted together.
MAX_WORDS = 256
OTHERS = "(others)"

_KINDS = tuple(KINDS)
_CODE = {kind: code for code, kind in enumerate(_KINDS)}
_UNKNOWN = len(_KINDS)

Mask = npt.NDArray[np.bool_]


class Tally:
    """Totals of a trace, and durations over time and of each VM."""

    def __init__(self, timeline: Timeline, vms: Vms) -> None:
        self.rows = 0
        self.unknown_rows = 0
        self.kinds: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.comms: Counter[str] = Counter()
        self.latencies = {series: Latency() for series in SERIES}
        self.first_ns = self.last_ns = 0
        self._timeline = timeline
        self._vms = vms

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows. Their VMs are those that Vms has now."""
        if not batch.num_rows:
            return
        kinds = kind_codes(batch)
        times = batch["time_ns"].to_numpy()
        self._count_rows(kinds, times)
        self._count_losses(batch, kinds, times)
        self._count_comms(batch, kinds)
        self._count_durations(batch, kinds, times)

    def _count_rows(self, kinds: npt.NDArray[np.intp], times: npt.NDArray[np.uint64]) -> None:
        first, last = int(times.min()), int(times.max())
        self.first_ns = min(self.first_ns, first) if self.rows else first
        self.last_ns = max(self.last_ns, last)
        self.rows += len(kinds)
        counts = np.bincount(kinds, minlength=_UNKNOWN + 1)
        self.unknown_rows += int(counts[_UNKNOWN])
        self.kinds.update({_KINDS[i]: int(n) for i, n in enumerate(counts[:_UNKNOWN]) if n})

    def _count_losses(
        self, batch: pa.RecordBatch, kinds: npt.NDArray[np.intp], times: npt.NDArray[np.uint64]
    ) -> None:
        where = np.flatnonzero(kinds == _CODE["loss"])
        if not len(where):
            return
        counts = batch["count"].to_numpy()[where]
        self._timeline.add("lost", self._timeline.bins(times[where]), counts.astype(np.float64))
        for detail, count in zip(batch["detail"].take(where).to_pylist(), counts, strict=True):
            _count(self.losses, detail, int(count))

    def _count_comms(self, batch: pa.RecordBatch, kinds: npt.NDArray[np.intp]) -> None:
        column = batch["comm"]
        words = column.dictionary
        found = column.indices.to_numpy()[kinds == _CODE["notifier_begin"]]
        counts = np.bincount(found, minlength=len(words))
        for index in np.flatnonzero(counts):
            _count(self.comms, words[int(index)].as_py(), int(counts[index]))

    def _count_durations(
        self, batch: pa.RecordBatch, kinds: npt.NDArray[np.intp], times: npt.NDArray[np.uint64]
    ) -> None:
        durations, kvms = batch["duration_ns"].to_numpy(), batch["kvm"].to_numpy()
        for series, mask in _series(batch, kinds, durations).items():
            where = np.flatnonzero(mask)
            if not len(where):
                continue
            taken = durations[where]
            self.latencies[series].add(taken)
            bins = self._timeline.bins(times[where])
            self._timeline.add(series, bins)
            self._timeline.add_slots(series, bins, slots(taken), SLOTS)
            for kvm in np.unique(kvms[where]):
                vm = self._vms.get(int(kvm))
                if vm is not None:
                    vm.latencies.setdefault(series, Latency()).add(taken[kvms[where] == kvm])


def kind_codes(batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """For each row the index of its kind in KINDS; len(KINDS) for what is not there."""
    column = batch["kind"]
    table = [_CODE.get(kind, _UNKNOWN) for kind in column.dictionary.to_pylist()]
    found: npt.NDArray[np.intp] = np.array(table, np.intp)[column.indices.to_numpy()]
    return found


def _series(
    batch: pa.RecordBatch, kinds: npt.NDArray[np.intp], durations: npt.NDArray[np.uint64]
) -> dict[str, Mask]:
    full = batch["full"].to_numpy(zero_copy_only=False)
    canonical = batch["mmu"].to_numpy() == 0
    unmaps, faults = kinds == _CODE["unmap_end"], kinds == _CODE["fault"]
    return {
        "notifier": kinds == _CODE["notifier_end"],
        "full": unmaps & full,
        "ranged": unmaps & ~full,
        "canonical": faults & canonical,
        "shadow": faults & ~canonical,
        "record": (kinds == _CODE["record"]) & (durations > 0),
    }


def _count(counter: Counter[str], word: str, count: int) -> None:
    word = name(word) or "(none)"
    known = word in counter or len(counter) < MAX_WORDS
    counter[word if known else OTHERS] += count
