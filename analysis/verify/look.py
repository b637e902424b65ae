"""Looks at running VMs until they are at rest: the page tables, the trace, and the tables again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nvscope.analysis.interop.sources import open_source
from nvscope.analysis.verify.compared import (
    CHANGING,
    DIFFERS,
    ENDED,
    NOT_AT_REST,
    SEVERAL,
    VmResult,
    compared,
    unknown,
    worst,
)
from nvscope.analysis.verify.debugfs import Shown, shown
from nvscope.analysis.verify.traced import TracedVm, Tracing
from nvscope.probes.commands.record.recorder import FLUSH_SECONDS
from nvscope.probes.errors import InputError, LackError

# What has happened is in the file after that: the recorder's own time, and as much for a busy host.
SETTLE_SECONDS = 2 * FLUSH_SECONDS


@dataclass(frozen=True)
class Trace:
    """A trace as far as it goes. ended: its recorder has ended it. boot_id: which boot it is of."""

    vms: tuple[TracedVm, ...]
    boot_id: str
    ended: bool


@dataclass(frozen=True)
class Result:
    """What came out. ended: as of a Trace."""

    verdict: str
    vms: tuple[VmResult, ...]
    ended: bool


@dataclass(frozen=True)
class Looker:
    """How to look. mounted: where debugfs is; boot_id: of this host's boot.

    patience_seconds: how long to wait for rest; settle_seconds: between two looks.
    """

    mounted: Path
    boot_id: str
    patience_seconds: float = 5 * SETTLE_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    wait: Callable[[float], None] = time.sleep
    clock_ns: Callable[[], int] = time.monotonic_ns

    def look(self, path: Path) -> Result:
        """Compare. Raises TraceError, LackError, InputError."""
        deadline_ns = self.clock_ns() + int(self.patience_seconds * 1e9)
        trace = read(path)
        self._require_this_boot(path, trace.boot_id)
        while True:
            since_ns = self.clock_ns()
            before = shown(self.mounted, {vm.pid for vm in trace.vms})
            self.wait(self.settle_seconds)
            trace = read(path)
            after = shown(self.mounted, {vm.pid for vm in trace.vms})
            result = _result(trace, before, after, since_ns)
            # A recorder that is behind catches up meanwhile; one that has ended does not.
            may_pass = result.verdict == CHANGING or (result.verdict == DIFFERS and not trace.ended)
            if not may_pass or self.clock_ns() >= deadline_ns:
                return result

    def _require_this_boot(self, path: Path, boot_id: str) -> None:
        if not boot_id:
            raise InputError(
                f"{path} does not say of which boot it is: record it by nvscope record"
            )
        if boot_id != self.boot_id:
            raise LackError(
                f"{path} is of another host, or of an earlier boot of this one: verify reads the"
                " page tables of running VMs, where they were traced"
            )


def read(path: Path) -> Trace:
    """A trace, as far as it goes now. Raises TraceError."""
    with open_source(path) as source:
        tracing = Tracing(source.about)
        tracing.feed(source.batches())
        return Trace(tuple(tracing.vms()), source.about.boot_id, source.complete)


def _result(
    trace: Trace, before: dict[int, list[Shown]], after: dict[int, list[Shown]], since_ns: int
) -> Result:
    pids = [vm.pid for vm in trace.vms]
    vms = []
    for vm in trace.vms:
        is_alone = pids.count(vm.pid) == 1
        vms.append(_vm(vm, before.get(vm.pid, []), after[vm.pid], since_ns, is_alone=is_alone))
    nested = tuple(vm for vm in vms if vm is not None)
    return Result(worst(vm.verdict for vm in nested), nested, trace.ended)


def _vm(
    vm: TracedVm, before: list[Shown], after: list[Shown], since_ns: int, *, is_alone: bool
) -> VmResult | None:
    """None: it is no VM with nested guests, and has nothing to compare."""
    if not vm.why and not vm.mmus and not any(each.tables for each in after):
        return None
    if not after:
        return unknown(vm, ENDED)
    if len(after) > 1 or not is_alone:
        return unknown(vm, SEVERAL)
    (now,) = after
    result = compared(vm, now)
    if not vm.why and not now.why and (before != after or vm.changed_ns >= since_ns):
        return unknown(vm, NOT_AT_REST, CHANGING, str(now.folder))
    return result
