"""Raw events of kprobes (see recipe.py) become rows of the event table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nvscope.analysis.interop.text import Lost, Raw
from nvscope.probes.events import Event

PAGE_BYTES = 4096  # of a gfn, where a header does not say otherwise
MAX_TASKS = 1 << 16  # in the middle of something at one time
_U64, _S32 = (1 << 64) - 1, (1 << 31) - 1
_T0SZ = 0x3F  # VTCR_EL2.T0SZ, bits 5:0: the IPA space is 2**(64 - T0SZ) bytes
# Without a VTCR: no IPA space is smaller (Arm ARM, T0SZ of at most 39 with a 4 KiB granule).
_LEAST_FULL = 1 << 32
_WITHIN = {"tlbi_vmid": "tlbi", "tlbi_all": "tlbi", "recycle": "recycling"}
_SKIPPED = frozenset({"kvm_unmap_hva_range", "kvm_age_hva", "kvm_test_age_hva"})

# enum -> value -> word, where a header does not say it: the lab's kernel patch.
WORDS: Mapping[str, Mapping[str, str]] = {
    "kvm_revmap_record": {
        "0": "stored",
        "1": "unchanged",
        "2": "overlapped",
        "3": "failed",
        "4": "skipped",
    },
    "kvm_revmap_fallback": {"0": "broken", "1": "unknown_ipa", "2": "raced"},
}


@dataclass
class Task:
    """Calls that a task is in: event -> its begin; canonical_ipa: what it is about to map."""

    calls: dict[str, Raw] = field(default_factory=dict)
    canonical_ipa: int | None = None


class Rows:
    """Takes raw events in their order and gives rows. dropped: why -> how many events."""

    def __init__(
        self,
        words: Mapping[str, Mapping[str, str]] | None = None,
        offsets: Mapping[str, int] | None = None,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.ties = 0
        self._words = words or WORDS
        self._offsets = offsets or {}
        self._page_bytes = page_bytes
        self._tasks: dict[int, Task] = {}
        self._last = (0, 0)  # time and CPU
        self._pids: dict[int, int] = {}
        self._mmus: dict[int, int] = {}  # struct kvm * -> its array of shadow MMUs; 0: none yet
        self._begins: dict[str, Callable[[Raw, Task], Iterator[Event]]] = {
            "notifier": self._notifier_begin,
            "unmap": self._unmap_begin,
            "fault": self._fault_begin,
        }
        self._ends: dict[str, Callable[[Raw, Raw, Task], Iterator[Event]]] = {
            "notifier": self._notifier_end,
            "unmap": self._unmap_end,
            "fault": self._fault_end,
            "map": self._map,
            "record": self._record,
        }

    def rows(self, item: Raw | Lost) -> Iterator[Event]:
        """The rows that follow from an event."""
        if isinstance(item, Lost):
            yield from self._lost(item)
            return
        if item.time_ns < self._last[0]:
            self.dropped["its time is before that of the line above"] += 1
            return
        self.ties += item.time_ns == self._last[0] and item.cpu != self._last[1]
        self._last = (item.time_ns, item.cpu)
        if len(self._tasks) >= MAX_TASKS:
            self._tasks.clear()
            self.dropped["too many tasks at one time"] += 1
        task = self._tasks.setdefault(item.tid, Task())
        name, _, which = item.event.rpartition("_")
        if which == "begin" and name in self._begins.keys() | self._ends.keys() | _WITHIN.keys():
            task.calls[name] = item
            if name in self._begins:
                yield from self._begins[name](item, task)
        elif which == "end" and name in self._ends.keys() | _WITHIN.keys():
            yield from self._end(name, item, task)
        else:
            yield from self._single(item, task)

    def _end(self, name: str, item: Raw, task: Task) -> Iterator[Event]:
        begin = task.calls.pop(name, None)
        if begin is None:
            self.dropped[f"{name}_end without its begin"] += 1
        elif name in self._ends:
            yield from self._ends[name](item, begin, task)

    def _lost(self, item: Lost) -> Iterator[Event]:
        if item.count:
            # What is lost may be the ends of these.
            self._tasks.clear()
            yield Event("loss", self._last[0], detail=item.cause, count=min(item.count, 0xFFFFFFFF))

    def _single(self, item: Raw, task: Task) -> Iterator[Event]:
        event = item.event
        if event in ("mmu_init", "mmu_free"):
            yield self._row(event, item, mmu=self._shadow(item))
            if event == "mmu_init" and not self._shadow(item):
                self._mmus[self._kvm(item)] = 0  # a VM begins
        elif event == "vm_exit":
            yield self._row(event, item)
            self._pids.pop(self._kvm(item), None)
            self._mmus.pop(self._kvm(item), None)
        elif event == "mmus":
            yield from self._moved(item)
        elif event in ("broken", "kvm_nested_revmap_broken"):
            yield self._row("broken", item, mmu=self._mmu(item))
        elif event == "fallback":
            word = self._word("kvm_revmap_fallback", item, "reason")
            yield self._row("fallback", item, mmu=_int(item, "mmu"), detail=word)
        elif event in _SKIPPED:
            self.dropped[f"{event} has host virtual addresses only"] += 1
        else:
            self.dropped["events of other names"] += 1

    def _moved(self, item: Raw) -> Iterator[Event]:
        """A vCPU was initialised: are the VM's shadow MMUs where they were?"""
        kvm, now = self._kvm(item), _int(item, "mmus")
        if len(self._mmus) >= MAX_TASKS:
            self._mmus.clear()
        if self._mmus.get(kvm) not in (0, now):
            yield Event("loss", item.time_ns, detail="mmus_moved", count=1)
        self._mmus[kvm] = now

    # ---- calls

    def _notifier_begin(self, item: Raw, task: Task) -> Iterator[Event]:
        yield self._row("notifier_begin", item, **self._range(item))

    def _notifier_end(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        yield self._after("notifier_end", item, begin, **self._range(begin))

    def _range(self, item: Raw) -> dict[str, Any]:
        start, end = _int(item, "start"), _int(item, "end")
        return {
            "canonical_ipa": start * self._page_bytes & _U64,
            "size": max(0, end - start) * self._page_bytes & _U64,
            "may_block": bool(_int(item, "may_block")),
        }

    def _unmap_begin(self, item: Raw, task: Task) -> Iterator[Event]:
        if self._shadow(item):
            yield self._row("unmap_begin", item, **self._unmapped(item, task))

    def _unmap_end(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        if self._shadow(begin):
            yield self._after("unmap_end", item, begin, **self._unmapped(begin, task))

    def _unmapped(self, begin: Raw, task: Task) -> dict[str, Any]:
        within = next((word for name, word in _WITHIN.items() if name in task.calls), "other")
        return {
            "mmu": self._shadow(begin),
            "nested_ipa": _int(begin, "start"),
            "size": _int(begin, "size"),
            "full": _is_full(begin),
            "detail": "notifier" if "notifier" in task.calls else within,
        }

    def _fault_begin(self, item: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = _canonical(item)
        return iter(())

    def _fault_end(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = None
        mmu, ipa = self._shadow(begin), _int(begin, "ipa")
        where = {"canonical_ipa": _canonical(begin) if mmu else ipa}
        where |= {"mmu": mmu, "nested_ipa": ipa} if mmu else {}
        yield self._after("fault", item, begin, result=_result(item), **where)

    def _record(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = _int(begin, "canonical")
        yield self._after(
            "record",
            item,
            begin,
            mmu=_int(begin, "mmu"),
            nested_ipa=_int(begin, "nested"),
            canonical_ipa=task.canonical_ipa,
            size=_int(begin, "size"),
            detail=self._word("kvm_revmap_record", item, "result"),
        )

    def _map(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        mmu, size = self._shadow(begin), _int(begin, "size")
        if not mmu:
            return
        if task.canonical_ipa is None:
            # As the recorder does: that something is mapped is known, but not where it leads.
            yield Event("loss", item.time_ns, detail="no_canonical", count=1)
            return
        mask = ~(size - 1) & _U64 if size else _U64
        yield self._row(
            "map",
            item,
            begin,
            mmu=mmu,
            nested_ipa=_int(begin, "addr") & mask,
            canonical_ipa=task.canonical_ipa & mask,
            size=size,
            result=_result(item),
        )

    # ---- rows

    def _after(self, kind: str, item: Raw, begin: Raw, **values: Any) -> Event:
        return self._row(kind, item, begin, duration_ns=item.time_ns - begin.time_ns, **values)

    def _row(self, kind: str, item: Raw, begin: Raw | None = None, **values: Any) -> Event:
        source = begin or item
        kvm = self._kvm(source)
        pid = source.values.get("pid")
        if len(self._pids) >= MAX_TASKS:
            self._pids.clear()
        if isinstance(pid, int) and pid > 0:
            self._pids[kvm] = min(pid, _S32)
        elif kind == "mmu_init":
            self._pids.setdefault(kvm, item.tid)  # not set yet where a VM begins
        pid = self._pids.get(kvm, 0)
        common: dict[str, Any] = {
            "time_ns": item.time_ns,
            "cpu": item.cpu,
            "tid": item.tid,
            "comm": item.comm,
        }
        return Event(kind, **common, kvm=kvm, pid=pid, **values)

    def _kvm(self, item: Raw) -> int:
        if "kvm" in item.values:
            return _int(item, "kvm")
        return max(0, _int(item, "arch") - self._offsets.get("arch", 0))

    def _shadow(self, item: Raw) -> int:
        """The MMU's address, 0 of the canonical one."""
        mmu = _int(item, "mmu")
        arch, canonical = (self._offsets.get(name) for name in ("arch", "canonical"))
        if arch is None or canonical is None:
            return mmu
        return 0 if mmu == self._kvm(item) + arch + canonical else mmu

    def _mmu(self, item: Raw) -> int:
        # The tracepoint prints a pointer without its 0x.
        value = item.values.get("mmu", 0)
        if isinstance(value, int) and item.event == "broken":
            return _int(item, "mmu")
        try:
            return int(str(value), 16) & _U64
        except ValueError:
            return 0

    def _word(self, enum: str, item: Raw, name: str) -> str:
        return self._words.get(enum, {}).get(str(item.values.get(name)), "unknown")


def _int(item: Raw, name: str) -> int:
    value = item.values.get(name, 0)
    return value & _U64 if isinstance(value, int) else 0


def _result(item: Raw) -> int:
    value = item.values.get("result", 0)
    if not isinstance(value, int):
        return 0
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value > _S32 else value


def _canonical(item: Raw) -> int:
    """Where a fault leads: what the guest's own stage 2 says, if it is on."""
    return _int(item, "output") if _int(item, "nested") else _int(item, "ipa")


def _is_full(item: Raw) -> bool:
    if "full" in item.values:
        return bool(_int(item, "full"))
    start, size, t0sz = _int(item, "start"), _int(item, "size"), _int(item, "vtcr") & _T0SZ
    if t0sz:
        return start == 0 and size >= 1 << (64 - t0sz)
    return start == 0 and size >= _LEAST_FULL and not size & (size - 1)
