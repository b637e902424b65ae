"""Raw events of kprobes (see wanted.py) become rows of the event table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nvscope.analysis.interop.texts.gaps import Gap
from nvscope.analysis.interop.texts.text import Mark, Raw
from nvscope.analysis.interop.texts.values import (
    S32,
    TRACEPOINT,
    WORDS,
    canonical,
    is_full,
    is_ours,
    is_possible,
    is_whole,
    number,
    pointer,
    result,
    word,
)
from nvscope.probes.traces.events import Event

PAGE_BYTES = 4096  # of a gfn, where a header does not say otherwise
MAX_TASKS = 1 << 16  # in the middle of something at one time
_U64, _U32 = (1 << 64) - 1, (1 << 32) - 1
_WITHIN = {"tlbi_vmid": "tlbi", "tlbi_all": "tlbi", "recycle": "recycling"}
_SKIPPED = frozenset({"kvm_unmap_hva_range", "kvm_age_hva", "kvm_test_age_hva"})
# Ends that say nothing of the state of an MMU: without their begins they are left out.
_HARMLESS = {"fault", *_WITHIN}
_OTHER_NAMES = "events of other names"


@dataclass
class Task:
    """Calls that a task is in: event -> its begin; canonical_ipa: what it is about to map."""

    calls: dict[str, Raw] = field(default_factory=dict)
    canonical_ipa: int | None = None


class Rows:
    """Takes raw events in their order and gives rows.

    dropped: why -> how many events; known: how many are of a recipe; ties: how many have the time
    of the one before, on another CPU.
    """

    def __init__(
        self,
        words: Mapping[str, Mapping[str, str]] | None = None,
        offsets: Mapping[str, int] | None = None,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.known = 0
        self.ties = 0
        self._words = words or WORDS
        self._offsets = offsets or {}
        self._page_bytes = page_bytes
        self._tasks: dict[int, Task] = {}
        self._last = (0, 0)  # time and CPU
        self._gap_ns = 0  # until when events are missing
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

    def rows(self, item: Raw | Mark | Gap) -> Iterator[Event]:
        """The rows that follow from an event, or from events that are missing."""
        if isinstance(item, Raw):
            yield from self._events(item)
            return
        if isinstance(item, Gap) or not item.event or is_ours(item.event):
            self._tasks.clear()  # the ends of these may be missing
        if isinstance(item, Gap):
            self._gap_ns = max(self._gap_ns, item.until_ns)
            yield self._loss(max(self._last[0], item.until_ns), item.cause, item.count)

    def _events(self, item: Raw) -> Iterator[Event]:
        if not is_ours(item.event):
            host = item.event in _SKIPPED
            why = f"{item.event} has host virtual addresses only" if host else _OTHER_NAMES
            self.dropped[why] += 1
            return
        self.known += 1
        if item.time_ns < self._last[0]:
            self.dropped["its time is before that of the line above"] += 1
            return
        self.ties += item.time_ns == self._last[0] and item.cpu != self._last[1]
        self._last = (item.time_ns, item.cpu)
        if item.tid <= 0:
            # All tasks of other PID namespaces have this number: calls cannot be told apart.
            yield from self._missed(item, "no_task", "the task is not known")
        elif not is_whole(item):
            yield from self._missed(item, "not_understood", "a value is missing")
        else:
            for row in self._of_task(item):
                if is_possible(row):
                    yield row
                else:
                    yield from self._missed(item, "not_understood", "no such range can be")

    def _of_task(self, item: Raw) -> Iterator[Event]:
        if self._gap_ns and item.time_ns >= self._gap_ns:
            self._tasks.clear()
            self._gap_ns = 0
        if len(self._tasks) >= MAX_TASKS:
            self._tasks.clear()
            yield from self._missed(item, "too_many_tasks", "too many tasks at one time")
        task = self._tasks.setdefault(item.tid, Task())
        name, _, which = item.event.rpartition("_")
        if which == "begin":
            task.calls[name] = item
            if name in self._begins:
                yield from self._begins[name](item, task)
        elif which == "end":
            yield from self._end(name, item, task)
        else:
            yield from self._single(item, task)
        if not task.calls and task.canonical_ipa is None:
            self._tasks.pop(item.tid, None)

    def _end(self, name: str, item: Raw, task: Task) -> Iterator[Event]:
        begin = task.calls.pop(name, None)
        if begin is None and name in _HARMLESS:
            self.dropped[f"{name}_end without its begin"] += 1
        elif begin is None:
            yield from self._missed(item, "no_begin", f"{name}_end without its begin")
        elif name in self._ends:
            yield from self._ends[name](item, begin, task)

    def _missed(self, item: Raw, cause: str, why: str) -> Iterator[Event]:
        """An event of which no row can be made: it is as if it were lost."""
        self.dropped[why] += 1
        yield self._loss(item.time_ns, cause, 1)

    @staticmethod
    def _loss(time_ns: int, cause: str, count: int) -> Event:
        return Event("loss", time_ns, detail=cause, count=min(count, _U32))

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
        elif event in ("broken", TRACEPOINT):
            of = pointer if event == TRACEPOINT else number
            yield self._row("broken", item, mmu=of(item, "mmu"))
        elif event == "fallback":
            why = word(self._words, "fallback", item, "reason")
            yield self._row("fallback", item, mmu=number(item, "mmu"), detail=why)

    def _moved(self, item: Raw) -> Iterator[Event]:
        """A vCPU was initialised: are the VM's shadow MMUs where they were?"""
        kvm, now = self._kvm(item), number(item, "mmus")
        if len(self._mmus) >= MAX_TASKS:
            self._mmus.clear()
        if self._mmus.get(kvm) not in (0, now):
            yield self._loss(item.time_ns, "mmus_moved", 1)
        self._mmus[kvm] = now

    # ---- calls

    def _notifier_begin(self, item: Raw, task: Task) -> Iterator[Event]:
        yield self._row("notifier_begin", item, **self._range(item))

    def _notifier_end(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        yield self._after("notifier_end", item, begin, **self._range(begin))

    def _range(self, item: Raw) -> dict[str, Any]:
        start, end = number(item, "start"), number(item, "end")
        return {
            "canonical_ipa": start * self._page_bytes & _U64,
            "size": max(0, end - start) * self._page_bytes & _U64,
            "may_block": bool(number(item, "may_block")),
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
            "nested_ipa": number(begin, "start"),
            "size": number(begin, "size"),
            "full": is_full(begin),
            "detail": "notifier" if "notifier" in task.calls else within,
        }

    def _fault_begin(self, item: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = canonical(item)
        return iter(())

    def _fault_end(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = None
        mmu, ipa = self._shadow(begin), number(begin, "ipa")
        where = {"canonical_ipa": canonical(begin) if mmu else ipa}
        where |= {"mmu": mmu, "nested_ipa": ipa} if mmu else {}
        yield self._after("fault", item, begin, result=result(item), **where)

    def _record(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        task.canonical_ipa = number(begin, "canonical")
        yield self._after(
            "record",
            item,
            begin,
            mmu=number(begin, "mmu"),
            nested_ipa=number(begin, "nested"),
            canonical_ipa=task.canonical_ipa,
            size=number(begin, "size"),
            detail=word(self._words, "record", item, "result"),
        )

    def _map(self, item: Raw, begin: Raw, task: Task) -> Iterator[Event]:
        mmu, size = self._shadow(begin), number(begin, "size")
        if not mmu:
            return
        if task.canonical_ipa is None:
            # As the recorder does: that something is mapped is known, but not where it leads.
            yield self._loss(item.time_ns, "no_canonical", 1)
            return
        mask = ~(size - 1) & _U64 if size else _U64
        yield self._row(
            "map",
            item,
            begin,
            mmu=mmu,
            nested_ipa=number(begin, "addr") & mask,
            canonical_ipa=task.canonical_ipa & mask,
            size=size,
            result=result(item),
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
            self._pids[kvm] = min(pid, S32)
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
            return number(item, "kvm")
        return max(0, number(item, "arch") - self._offsets.get("arch", 0))

    def _shadow(self, item: Raw) -> int:
        """The MMU's address, 0 of the canonical one."""
        mmu = number(item, "mmu")
        arch, canonical = (self._offsets.get(name) for name in ("arch", "canonical"))
        if arch is None or canonical is None:
            return mmu
        return 0 if mmu == self._kvm(item) + arch + canonical else mmu
