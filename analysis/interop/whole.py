"""All of a trace in a data set, as its file had it: the rows of its shares in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from nvscope.analysis.interop.files.stored import Numbered, Share, Stored
from nvscope.probes.traces.tracefile import TraceError

# A process may have 1,024 files open (RLIMIT_NOFILE's usual soft limit).
MAX_SHARES = 512


class Whole:
    """A Source of all rows. Holds a batch of each share. Raises TraceError.

    As many files are open as there are VMs: at most MAX_SHARES. read_bytes is not kept.
    """

    def __init__(self, found: Stored) -> None:
        self.about, self.ending = found.about, found.ending
        self.complete = not found.ending
        self.read_bytes = 0
        self._found = found

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, as they were recorded."""
        folder, names = self._found.folder, self._found.shares
        if len(names) > MAX_SHARES:
            raise TraceError(
                f"{folder}: it has {len(names):,} VMs; the rows of more than {MAX_SHARES} are not"
                " put in order: choose one by its kvm"
            )
        return merged([Share(folder, name).own() for name in names])


def merged(runs: Sequence[Iterator[Numbered]]) -> Iterator[pa.RecordBatch]:
    """Runs of rows as one, in the order of their numbers. Raises TraceError."""
    held = [(next(run, None), run) for run in runs]
    while left := [(batch, run) for batch, run in held if batch is not None]:
        # Up to where the first of these batches ends, all rows are at hand.
        upto = min(int(numbers[-1]) for (numbers, _), _ in left)
        taken, held = [], []
        for (numbers, batch), run in left:
            cut = int(np.searchsorted(numbers, upto, side="right"))
            taken.append((numbers[:cut], batch.slice(0, cut)))
            rest = (numbers[cut:], batch.slice(cut))
            held.append((rest if len(rest[0]) else next(run, None), run))
        yield from _in_order(taken)


def _in_order(parts: Sequence[Numbered]) -> Iterator[pa.RecordBatch]:
    numbers = np.concatenate([numbers for numbers, _ in parts])
    order = np.argsort(numbers)
    twice = np.flatnonzero(np.diff(numbers[order]) == 0)
    if len(twice):
        raise TraceError(f"row {numbers[order][twice[0]]} is there twice")
    table = pa.Table.from_batches([batch for _, batch in parts])
    try:
        table = table.unify_dictionaries()
    except pa.ArrowInvalid:  # past what their numbers can count
        raise TraceError("it has too many different words") from None
    yield from table.take(pa.array(order)).combine_chunks().to_batches()
