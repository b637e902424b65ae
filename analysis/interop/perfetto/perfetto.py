"""Traces for ui.perfetto.dev, as trace-event JSON: a process for each VM, lanes in it.

Format: "Trace Event Format" (Google, 2016); times are microseconds since the first row.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa

from nvscope.analysis.interop.perfetto.lanes import Lanes
from nvscope.analysis.interop.refaults import Refaults
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import events

MAX_NAME = 100
# Arrows from one unmap: past these a picture gets no clearer.
MAX_FLOWS = 64
MAX_MAPPINGS = 1 << 20  # followed at one time; of more there are no arrows
NOTIFIERS, CANONICAL = "notifier unmaps", "canonical faults"
_LANES = 512  # lanes of one line, as many as a VM has vCPUs; more overlap in the last
_Place = tuple[int, int]  # process and thread of the JSON


class UnmapSlice:
    """A notifier's shadow unmap that arrows begin at."""

    def __init__(self, begin_ns: int) -> None:
        self.begin_ns = begin_ns
        self.place: _Place | None = None  # known when it ends
        self.flows = 0


class Converter:
    """Rows to JSON objects, in the order of rows."""

    def __init__(self) -> None:
        self._start_ns: int | None = None
        self._vms: dict[int, int] = {}  # struct kvm -> process
        self._processes = 0
        self._names: dict[int, str] = {}
        self._threads: dict[tuple[int, str, int], int] = {}
        self._lanes: dict[tuple[int, str], Lanes] = {}
        self._refaults: dict[int, Refaults[UnmapSlice]] = {}  # by MMU
        self._mapped = 0
        self._unmaps: dict[int, UnmapSlice] = {}  # by task
        # By task: of which unmaps its last map brought something back, in order.
        self._back: dict[int, list[UnmapSlice]] = {}
        self._mmus: dict[int, set[int]] = {}
        self._flow = 0

    def objects(self, row: Event) -> Iterator[dict[str, Any]]:
        """What a row becomes; names of processes and threads before they are used."""
        if self._start_ns is None:
            self._start_ns = row.time_ns - row.duration_ns
        if row.kind == "loss":
            yield self._instant(row, (0, 0), f"lost: {row.count} {row.detail}"[:MAX_NAME], "g")
            return
        yield from self._process(row)
        if row.kind in ("notifier_end", "unmap_end", "fault"):
            yield from self._slice(row)
        elif row.kind == "unmap_begin":
            self._unmap_begin(row)
        elif row.kind == "map":
            self._map(row)
        elif row.kind != "notifier_begin":
            yield from self._noted(row)

    # ---- processes and threads

    def _process(self, row: Event) -> Iterator[dict[str, Any]]:
        if row.kvm not in self._vms or (row.kind == "mmu_init" and not row.mmu):
            self._processes += 1
            self._vms[row.kvm] = self._processes
        process = self._vms[row.kvm]
        name = _name(row.vm) or f"VM of process {row.pid}"
        if self._names.get(process) != name and (row.vm or process not in self._names):
            self._names[process] = name
            yield _metadata("process_name", process, 0, name=name)

    def _thread(self, row: Event, line: str, lane: int) -> tuple[_Place, list[dict[str, Any]]]:
        process = self._vms[row.kvm]
        key = (process, line, min(lane, _LANES - 1))
        thread = self._threads.get(key)
        if thread is not None:
            return (process, thread), []
        thread = self._threads[key] = len(self._threads) + 1
        name = f"{line} ({lane + 1})" if lane else line
        order = {NOTIFIERS: 0, CANONICAL: 1}.get(line, 2)
        return (process, thread), [
            _metadata("thread_name", process, thread, name=name),
            _metadata("thread_sort_index", process, thread, sort_index=order),
        ]

    # ---- rows

    def _slice(self, row: Event) -> Iterator[dict[str, Any]]:
        line, name = _line_and_name(row)
        begin_ns = max(row.time_ns - row.duration_ns, self._start_ns or 0)
        process = self._vms[row.kvm]
        lane = self._lanes.setdefault((process, line), Lanes()).place(begin_ns, row.time_ns)
        place, named = self._thread(row, line, lane)
        yield from named
        yield {
            "ph": "X",
            "name": name,
            "cat": row.kind.removesuffix("_end"),
            "ts": self._ts(begin_ns),
            "dur": max(0, row.time_ns - begin_ns) / 1000,
            **_at(place),
            "args": _arguments(row),
        }
        if row.kind == "unmap_end":
            unmap = self._unmaps.pop(row.tid, None)
            if unmap is not None:
                unmap.place, unmap.begin_ns = place, begin_ns
        elif row.kind == "fault" and row.mmu:
            for unmap in self._back.pop(row.tid, ()):
                yield from self._arrow(unmap, begin_ns, place)

    def _arrow(self, unmap: UnmapSlice, to_ns: int, place: _Place) -> Iterator[dict[str, Any]]:
        if unmap.place is None or unmap.flows >= MAX_FLOWS:
            return
        unmap.flows += 1
        self._flow += 1
        common = {"name": "refault", "cat": "refault", "id": self._flow}
        yield common | {"ph": "s", "ts": self._ts(unmap.begin_ns), **_at(unmap.place)}
        yield common | {"ph": "f", "bp": "e", "ts": self._ts(to_ns), **_at(place)}

    def _unmap_begin(self, row: Event) -> None:
        unmap = UnmapSlice(row.time_ns) if row.detail == "notifier" else None
        mmu = self._refaults.get(row.mmu)
        if mmu is not None:
            taken = mmu.unmap(row.nested_ipa, row.size, full=row.full)
            self._mapped -= len(taken)
            if unmap is None:
                mmu.forgive(row.nested_ipa, row.size, full=row.full)
            else:
                mmu.owe(taken, unmap)
        if unmap is not None:
            self._unmaps[row.tid] = unmap

    def _map(self, row: Event) -> None:
        if row.result < 0:
            return
        self._mmus.setdefault(row.kvm, set()).add(row.mmu)
        back = self._came_back(row)
        if back:
            self._back[row.tid] = back
        else:
            self._back.pop(row.tid, None)

    def _came_back(self, row: Event) -> list[UnmapSlice]:
        """The unmaps that took some of what is mapped here."""
        if self._mapped >= MAX_MAPPINGS:
            return []
        mmu = self._refaults.setdefault(row.mmu, Refaults())
        had = mmu.count
        parts = mmu.map(row.nested_ipa, row.canonical_ipa, row.size)
        self._mapped += mmu.count - had
        return list(dict.fromkeys(part.value for part in parts))

    def _gone(self, mmus: Iterable[int]) -> None:
        """These MMUs are no more."""
        for address in mmus:
            mmu = self._refaults.pop(address, None)
            self._mapped -= mmu.count if mmu else 0

    def _noted(self, row: Event) -> Iterator[dict[str, Any]]:
        name = f"{row.kind} {_name(row.detail)}".strip()
        line = _mmu(row) if row.mmu else NOTIFIERS
        place, named = self._thread(row, line, 0)
        yield from named
        yield self._instant(row, place, name, "t")
        if row.kind == "mmu_free":
            self._gone([row.mmu])
        elif row.kind == "vm_exit":
            self._gone(self._mmus.pop(row.kvm, ()))
            self._vms.pop(row.kvm, None)

    def _instant(self, row: Event, place: _Place, name: str, scope: str) -> dict[str, Any]:
        at = {"ts": self._ts(row.time_ns), **_at(place)}
        return {"ph": "i", "s": scope, "name": name, "cat": row.kind, **at} | {
            "args": _arguments(row)
        }

    def _ts(self, time_ns: int) -> float:
        assert self._start_ns is not None
        return max(0, time_ns - self._start_ns) / 1000


def _line_and_name(row: Event) -> tuple[str, str]:
    if row.kind == "notifier_end":
        return NOTIFIERS, "notifier unmap"
    if row.kind == "fault":
        return (_mmu(row), "shadow fault") if row.mmu else (CANONICAL, "canonical fault")
    return _mmu(row), "full unmap" if row.full else "ranged unmap"


def _mmu(row: Event) -> str:
    return f"shadow MMU {row.mmu:#x}"


def _arguments(row: Event) -> dict[str, Any]:
    """What a row says, addresses in hex."""
    said: dict[str, Any] = {"task": f"{_name(row.comm)} {row.tid}", "cpu": row.cpu}
    for name in ("canonical_ipa", "nested_ipa", "size"):
        value = getattr(row, name)
        if value:
            said[name] = f"{value:#x}"
    if row.detail:
        said["detail"] = _name(row.detail)
    if row.result:
        said["result"] = row.result
    return said


def _at(place: _Place) -> dict[str, int]:
    return {"pid": place[0], "tid": place[1]}


def _metadata(kind: str, process: int, thread: int, **arguments: object) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": arguments}


def _name(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:MAX_NAME])


class Sink:
    """Writes batches to a stream as JSON, an object a line. Raises OSError."""

    def __init__(self, stream: IO[bytes], about: About, *, compress: bool) -> None:
        self._compressed = gzip.GzipFile("", "wb", 6, stream, mtime=0) if compress else None
        self._write = self._compressed.write if self._compressed else stream.write
        said = {"kernel": about.kernel, "revmap": about.revmap, "recorder": about.recorder}
        head = json.dumps({"displayTimeUnit": "ns", "otherData": said})
        self._write(f'{head[:-1]}, "traceEvents": [\n'.encode())
        self._converter = Converter()
        self._first = True

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        lines = [
            json.dumps(each, separators=(",", ":"))
            for row in events(batch)
            for each in self._converter.objects(row)
        ]
        if lines:
            text = ",\n".join(lines)
            self._write((text if self._first else f",\n{text}").encode())
            self._first = False

    def close(self, ending: str) -> None:
        """Finish the file."""
        self._write(b"\n]}\n")
        if self._compressed:
            self._compressed.close()
