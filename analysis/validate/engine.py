"""Runs a trace through the reference model, row by row, and compares.

All that is kept is the model's state: memory follows what is mapped, not how long the trace is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nvscope.analysis.judging.all_vms import AllVms
from nvscope.analysis.judging.findings import OVER_UNMAP, SUBJECTS, Result
from nvscope.analysis.judging.mapping import Mapped
from nvscope.analysis.judging.notifiers import Judge
from nvscope.analysis.judging.rows import (
    ALL,
    Columns,
    Numbers,
    Row,
    Share,
    decode,
    event_at,
    rows_of,
)
from nvscope.analysis.judging.scope import scope_of
from nvscope.analysis.judging.unmapping import Unmapped
from nvscope.analysis.judging.vm_state import AFTER_LOSS, ResultSink, Vm
from nvscope.analysis.model.variants import Variant
from nvscope.probes.traces.events import About, Event

if TYPE_CHECKING:
    from nvscope.analysis.compiled.compiled import Compiled

_log = logging.getLogger(__name__)

# Rows that the model judges in about the time that it takes to load Numba and what it compiled.
COMPILED_AFTER = 1 << 16


class Engine:
    """Feed it a trace from its first row on, then finish it; result says what came out.

    share: which VMs to look at; the others' rows are skipped. compiled_after: rows, from which on
    regular ones are left to compiled code, if there is Numba; what comes out is the same.
    """

    def __init__(
        self,
        about: About,
        variant: Variant,
        share: Share = ALL,
        compiled_after: int = COMPILED_AFTER,
    ) -> None:
        scope = scope_of(about, variant)
        self.result = Result(about, variant.name, lacks=dict(scope.lacks), blind=scope.blind)
        self._share = share
        self._event_at: Callable[[int], Event] = lambda row: Event("")
        self._sink = ResultSink(self.result, self._event)
        self._lossy_until = 0  # ns
        self._all_vms = AllVms(scope.variant, self._sink)
        self._mapped = Mapped(self._all_vms)
        judge = Judge(scope.variant, self._sink, says_fallbacks=scope.says_fallbacks)
        self._unmapped = Unmapped(self._all_vms, judge)
        self._compiled_after = compiled_after if _has_regular_rows(scope.variant) else None
        self._compiled: Compiled | None = None
        self._handlers: dict[str, Callable[[Row], None]] = {
            "record": self._mapped.record,
            "map": self._mapped.map,
            "broken": self._broken,
            "unmap_begin": self._unmapped.unmap_begin,
            "unmap_end": self._unmapped.unmap_end,
            "notifier_begin": self._unmapped.notifier_begin,
            "notifier_end": self._unmapped.notifier_end,
            "fallback": self._unmapped.fallback,
            "mmu_init": self._mmu_init,
            "mmu_free": self._mmu_free,
            # A reverse map follows its page tables, whosever they are.
            "mmu_recycle": lambda row: None,
            "vm_exit": self._vm_exit,
            "loss": self._loss,
        }
        if not scope.variant.modelled:
            self._handlers |= dict.fromkeys(("record", "broken", "fallback"), lambda row: None)

    def feed(self, batch: pa.RecordBatch, numbers: Numbers | None = None) -> None:
        """Go on with a batch. numbers: its rows', if they do not just go on. Raises TraceError."""
        base = self.result.rows
        if numbers is None:
            numbers = np.arange(base, base + batch.num_rows)
        self._event_at = lambda row: event_at(batch, int(np.searchsorted(numbers, row)))
        self._run_batch(decode(batch, numbers, self._share))
        self.result.rows = int(numbers[-1]) + 1 if len(numbers) else base

    def feed_events(self, trace: dict[int, Event]) -> None:
        """Go on with single events, by row number."""
        self._event_at = trace.__getitem__
        self._run(rows_of(trace.items()))
        self.result.rows = max(trace, default=self.result.rows - 1) + 1

    def finish(self) -> Result:
        """The trace is over."""
        self._all_vms.settle_all()
        return self.result

    def vms(self) -> Iterable[Vm]:
        """The state, for tests."""
        self._give_back()
        return self._all_vms.vms.values()

    def _event(self, row: int) -> Event:
        """A row of what is being fed, whole."""
        return self._event_at(row)

    def _run_batch(self, columns: Columns) -> None:
        if self._compiled_after is not None and self.result.rows >= self._compiled_after:
            self._compiled = _compiled(self._all_vms, self._unmapped, self._run)
            self._compiled_after = None
        if self._compiled is not None and not self._may_be_lossy(columns):
            self._compiled.feed(columns)
            return
        self._give_back()
        self._run(columns.rows())

    def _give_back(self) -> None:
        if self._compiled is not None:
            self._compiled.give_back(self.result.rows)

    def _may_be_lossy(self, columns: Columns) -> bool:
        times = columns.values["time_ns"]
        until = self._lossy_until
        return bool(columns.kinds.is_one_of(["loss"]).any() or (until and (times <= until).any()))

    def _run(self, rows: Iterable[Row]) -> None:
        if self.result.blind:
            for row in rows:
                self._skip(row, self.result.blind)
            return
        handlers = self._handlers
        for row in rows:
            if self._lossy_until and self._is_lossy(row):
                continue
            handlers[row.kind](row)

    def _is_lossy(self, row: Row) -> bool:
        """Whether rows may be missing around this one: it is as if it were lost, too."""
        # Told by its own time alone: what other VMs' rows say is not known in every share.
        if row.time_ns > self._lossy_until or row.kind == "loss":
            return False
        self._skip(row, AFTER_LOSS)
        return True

    def _skip(self, row: Row, why: str) -> None:
        """It cannot be judged."""
        if row.kind == "record":
            self._sink.unjudged(why, "conformance")
        elif row.kind == "notifier_end":
            self._sink.unjudged(why, "safety", "fallback", "precision", OVER_UNMAP)

    def _mmu_init(self, row: Row) -> None:
        if row.mmu == 0:
            self._vm_exit(row)
            self._all_vms.begin_vm(row, "").since = row.at
            return
        vm = self._all_vms.vm(row)
        if row.mmu in vm.mmus:
            self._all_vms.write_locked(row, vm)
            vm.mmus[row.mmu].forget_entries()
        self._all_vms.begin_mmu(vm, row, "").since = row.at

    def _mmu_free(self, row: Row) -> None:
        mmu = self._all_vms.mmu(row)
        self._all_vms.write_locked(row, mmu.vm)
        mmu.forget_entries()
        mmu.shadow.free()
        mmu.since = row.at

    def _vm_exit(self, row: Row) -> None:
        vm = self._all_vms.end_vm(row)
        if vm is not None:
            self._unmapped.forget(vm)

    def _loss(self, row: Row) -> None:
        """What was lost came after this row, and before the time that it states.

        That is when the recorder had read how much is lost (recorder.py, Loaded.drain).
        """
        self._lossy_until = max(row.time_ns, self._lossy_until)
        if self._share.n == 0:
            self._sink.unjudged(AFTER_LOSS, *SUBJECTS)
        self._unmapped.forget()
        self._all_vms.lose_all(row)

    def _broken(self, row: Row) -> None:
        if self._unmapped.is_in_notifier(row.tid):
            self._all_vms.mmu(row).shadow.breaks(row.at)  # an entry could not be taken out
        else:
            self._mapped.breaks(row)


def _has_regular_rows(variant: Variant) -> bool:
    """Whether compiled code knows such a kernel."""
    special = variant.lookup or variant.tlbi_removes or variant.tracks
    return not (variant.modelled and variant.revmap and special)


def _compiled(
    all_vms: AllVms, unmapped: Unmapped, run: Callable[[Iterable[Row]], None]
) -> Compiled | None:
    """None: there is no Numba; all goes through the model, in more time."""
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        return None
    except ImportError as error:  # it does not go with this NumPy, say
        _log.warning("nvscope: Numba cannot be used, this takes longer: %s", error)
        return None
    from nvscope.analysis.compiled.compiled import Compiled

    return Compiled(all_vms, unmapped, run)
