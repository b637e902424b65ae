"""What a trace says is mapped at its end, by the validator's own account of mappings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nvscope.analysis.judging.rows import Columns, decode
from nvscope.analysis.judging.scope import NOT_SEEN
from nvscope.analysis.judging.vm_state import AFTER_FINDING, AFTER_LOSS, MmuState, Vm
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.verify.spans import Span, Spans, merged, minus
from nvscope.probes.traces.events import About

NOT_MADE = "something was mapped by an MMU of which the trace does not say that it was made"

# Without these it is not known what is mapped, or which MMU is which.
_NEEDED = ("shadow_unmap", "shadow_map", "notifier_unmap", "mmu_init", "mmu_free", "vm_exit")
# It follows what is mapped, and decides nothing that depends on the kind of reverse map.
_VARIANT = VARIANTS["behaviour"]
# Kinds of rows that change what is mapped, or what there is to map it.
_CHANGES = ("map", "unmap_begin", "unmap_end", "mmu_init", "mmu_free")


@dataclass(frozen=True)
class TracedMmu:
    """A shadow MMU. address: its struct kvm_pgtable. mapped: nested IPAs, for sure.

    maybe: what was mapped while an unmap of it was under way, which either may have won. why: why
    that is not known; "": it is. under_way: an unmap has begun and not ended.
    """

    address: int
    mapped: Spans = ()
    maybe: Spans = ()
    why: str = ""
    under_way: bool = False


@dataclass(frozen=True)
class TracedVm:
    """A VM that has not ended. mmus: its shadow MMUs, in the order in which they were made.

    kvm, pid, name: as in a trace. changed_ns: when its mappings last changed. why: as of a
    TracedMmu, of all of them.
    """

    kvm: int
    pid: int
    name: str = ""
    changed_ns: int = 0
    mmus: tuple[TracedMmu, ...] = ()
    why: str = ""


class Tracing:
    """Takes a trace from its first row on; `vms` says what is mapped by now."""

    def __init__(self, about: About) -> None:
        self._engine = Engine(about, _VARIANT)
        missing = [point for point in _NEEDED if (about.probes or {}).get(point, "yes") == ""]
        self._blind = NOT_SEEN.format(", ".join(missing)) if missing else ""
        self._made: dict[int, dict[int, None]] = {}  # VM -> its MMUs, in order
        self._changed_ns: dict[int, int] = {}
        self._names: dict[int, str] = {}

    def feed(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Go on with these. Raises TraceError."""
        for batch in batches:
            base = self._engine.result.rows
            columns = decode(batch, np.arange(base, base + batch.num_rows))
            self._follow(columns)
            self._name(batch)
            self._engine.feed(batch)

    def vms(self) -> list[TracedVm]:
        """The VMs that have not ended."""
        return [self._vm(vm) for vm in self._engine.vms()]

    def _follow(self, columns: Columns) -> None:
        changes = np.nonzero(columns.kinds.is_one_of(_CHANGES))[0]
        for at in changes.tolist():
            self._changed_ns[int(columns.values["kvm"][at])] = int(columns.values["time_ns"][at])
        lives = np.nonzero(columns.kinds.is_one_of(("mmu_init", "mmu_free", "vm_exit")))[0]
        for at in lives.tolist():
            kind = columns.kinds.names[columns.kinds.codes[at]]
            self._live(kind, int(columns.values["kvm"][at]), int(columns.values["mmu"][at]))

    def _live(self, kind: str, kvm: int, mmu: int) -> None:
        if kind == "vm_exit" or mmu == 0:
            self._made.pop(kvm, None)
            self._names.pop(kvm, None)
            return
        made = self._made.setdefault(kvm, {})
        made.pop(mmu, None)
        if kind == "mmu_init":
            made[mmu] = None

    def _name(self, batch: pa.RecordBatch) -> None:
        words, kvms = batch.column("vm"), batch.column("kvm").to_numpy(zero_copy_only=False)
        names: list[str] = words.dictionary.to_pylist()
        codes: np.ndarray[Any, Any] = words.indices.to_numpy(zero_copy_only=False)
        found, last = np.unique(kvms[::-1], return_index=True)  # the last row of each
        for kvm, index in zip(found.tolist(), last.tolist(), strict=True):
            if name := names[codes[len(codes) - 1 - index]]:
                self._names[kvm] = name

    def _vm(self, vm: Vm) -> TracedVm:
        made = self._made.get(vm.kvm, {})
        why = self._blind or vm.doubt or _contradiction(made, vm)
        mmus = () if why else tuple(_mmu(address, vm.mmus[address]) for address in made)
        changed_ns = self._changed_ns.get(vm.kvm, 0)
        return TracedVm(vm.kvm, vm.pid, self._names.get(vm.kvm, ""), changed_ns, mmus, why)


def _contradiction(made: dict[int, None], vm: Vm) -> str:
    if made.keys() - vm.mmus.keys():
        return AFTER_LOSS  # the rows at a loss are not looked at
    others = [watched for address, watched in vm.mmus.items() if address not in made]
    return NOT_MADE if any(watched.shadow.mappings for watched in others) else ""


def _mmu(address: int, watched: MmuState) -> TracedMmu:
    shadow = watched.shadow
    sure: list[Span] = []
    maybe: list[Span] = []
    for mapping in shadow.mappings:
        span = (mapping.nested, mapping.nested + mapping.size)
        (sure if shadow.is_certain(mapping) else maybe).append(span)
    mapped = merged(sure)
    # After a violation the model trusts its account no longer, but the account goes on.
    why = "" if shadow.mappings_doubt == AFTER_FINDING else shadow.mappings_doubt
    return TracedMmu(address, mapped, minus(merged(maybe), mapped), why, bool(shadow.unmaps))
