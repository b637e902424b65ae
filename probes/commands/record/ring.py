"""What the programs put into a trace's ring buffer, as columns of the event table.

The C side: struct nv_event and enum nv_event_kind in bpf/nvscope.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nvscope.probes.counts import decode
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.traces.events import COLUMNS, KINDS

# struct nv_event; numpy has a type of its own for text.
EVENT = np.dtype(
    [(name, "S16" if name == "comm" else kind) for name, kind in decode.Event._fields_]
)
_FIELDS = frozenset(EVENT.names or ())
_KIND_NAMES = tuple(KINDS)
VM_EXIT = _KIND_NAMES.index("vm_exit")
_CAUSES = (*decode.LOSSES, decode.RECURSION)

# What nv_event.detail means, by kind; elsewhere it is 0, and means nothing.
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "loss": _CAUSES,
    "record": ("unknown", *decode.OUTCOMES[1:]),
    "fallback": ("", *decode.REASONS[1:]),
    "unmap_begin": decode.WITHIN,
    "unmap_end": decode.WITHIN,
}
_DETAIL_NAMES = sorted({"", *(word for words in _DETAILS.values() for word in words)})


def _detail_codes() -> np.ndarray[Any, Any]:
    """(kinds, codes) -> index into _DETAIL_NAMES."""
    table = np.zeros((len(KINDS), max(map(len, _DETAILS.values()))), np.int16)
    for kind, words in _DETAILS.items():
        row = [_DETAIL_NAMES.index(word) for word in words]
        table[_KIND_NAMES.index(kind), : len(row)] = row
    return table


_DETAIL_CODES = _detail_codes()


def decoded(raw: bytes) -> np.ndarray[Any, Any]:
    """The events, as an array of EVENT. raw: as drained."""
    return np.frombuffer(raw, EVENT)


def losses(counts: Mapping[str, int], time_ns: int) -> np.ndarray[Any, Any]:
    """The rows that say what was lost: cause -> number of events."""
    rows = np.zeros(len(counts), EVENT)
    rows["time_ns"] = time_ns
    rows["detail"] = [_CAUSES.index(cause) for cause in counts]
    rows["count"] = list(counts.values())
    return rows


def vms(rows: np.ndarray[Any, Any]) -> set[VmKey]:
    """All VMs in these rows."""
    pairs = np.unique(rows[["kvm", "pid"]])
    return {VmKey(int(kvm), int(pid)) for kvm, pid in pairs if kvm}


def columns(rows: np.ndarray[Any, Any], names: Mapping[VmKey, str]) -> dict[str, Any]:
    """Rows as the columns that tracefile.Writer takes; names: of the VMs, as far as known."""
    found: dict[str, Any] = {name: rows[name] for name in COLUMNS if name in _FIELDS}
    found["kind"] = _words(rows["kind"], _KIND_NAMES)
    found["detail"] = _words(_DETAIL_CODES[rows["kind"], rows["detail"]], _DETAIL_NAMES)
    commands, codes = np.unique(rows["comm"], return_inverse=True)
    found["comm"] = _words(codes, [name.decode(errors="replace") for name in commands])
    pairs, codes = np.unique(rows[["kvm", "pid"]], return_inverse=True)
    called = [names.get(VmKey(int(kvm), int(pid)), "") for kvm, pid in pairs]
    found["vm"] = _words(codes, called)
    found |= {name: rows[name].astype(bool) for name in ("full", "may_block")}
    found |= {name: rows[name].astype(np.int32) for name in ("pid", "tid")}
    found["cpu"] = rows["cpu"].astype(np.uint16)
    return found


def _words(codes: np.ndarray[Any, Any], names: Any) -> pa.DictionaryArray:
    """names may repeat: two VMs that nobody knows have none."""
    distinct = list(dict.fromkeys(names))
    places = np.array([distinct.index(name) for name in names], np.int16)
    return pa.DictionaryArray.from_arrays(pa.array(places[codes]), pa.array(distinct, pa.string()))
