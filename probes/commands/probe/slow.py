"""Calls that took longer than was asked for, one by one: whose, of what, by whom, from where."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any

from nvscope.probes.commands import units
from nvscope.probes.counts import decode
from nvscope.probes.counts.decode import SlowCall
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.vms.names import clean
from nvscope.probes.vms.names_seen import VmNames, matches

_HEXADECIMAL = frozenset({"canonical_ipa", "nested_ipa", "mmu", "size"})
_ADDRESS_BYTES = 8
# How the names begin of BPF programs and their trampolines,
_BPF = "bpf_"
# and of what is above the function that is probed: all that runs because somebody looks.
_WATCHERS = (
    _BPF, "__bpf_", "trace_call_bpf", "kretprobe_", "__kretprobe_", "rethook_", "arch_rethook_",
    "fprobe_", "do_el1_brk64", "el1_brk64", "el1h_64_sync",
)  # fmt: skip
MAX_SYMBOLS = 10_000  # names that are remembered
SHOWN = 10  # of an interval
MAX_KEPT = 1000  # in the result; the others are counted


@dataclass(frozen=True)
class Slow:
    """One slow call. unix_ns: when it ended; of: what it was about, by the probe's own names;
    comm, tid, cpu: in which task and where it ran; stack: functions, innermost first.
    """

    unix_ns: int
    vm: str
    duration_ns: int
    of: Mapping[str, int | str]
    trigger: str
    comm: str
    tid: int
    cpu: int
    stack: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        head = {"unix_ns": self.unix_ns, "vm": self.vm, "duration_ns": self.duration_ns}
        task = {"trigger": self.trigger, "comm": self.comm, "tid": self.tid, "cpu": self.cpu}
        return {**head, **self.of, **task, "stack": list(self.stack)}

    def lines(self) -> list[str]:
        """For people: what it was, then its stack."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.unix_ns / 1e9))
        of = " ".join(
            f"{name} {value:#x}"
            if isinstance(value, int) and name != "result"
            else f"{name} {value}"
            for name, value in self.of.items()
        )
        by = f"{self.trigger}: " if self.trigger else ""
        head = f"{clock} {self.vm}: {units.duration(self.duration_ns)}, {of}"
        return [f"{head}, by {by}{self.comm} {self.tid}", *(f"    {each}" for each in self.stack)]


@dataclass
class SlowCalls:
    """Reads slow calls. symbol: the name of a kernel address; kept: the first MAX_KEPT; dropped:
    how many came after them.
    """

    probe: str
    vms: tuple[str, ...]
    symbol: Callable[[int], str]
    kept: list[Slow] = field(default_factory=list)
    dropped: int = 0
    _symbols: dict[int, str] = field(default_factory=dict)

    def take(self, calls: Iterable[SlowCall], names: VmNames, unix_ahead_ns: int) -> list[Slow]:
        """Those of the VMs asked for. unix_ahead_ns: the wall clock minus CLOCK_MONOTONIC."""
        new = [self._read(call, names, unix_ahead_ns) for call in calls if self._asked(call, names)]
        room = MAX_KEPT - len(self.kept)
        self.kept += new[:room]
        self.dropped += max(0, len(new) - room)
        return new

    def _asked(self, call: SlowCall, names: VmNames) -> bool:
        return matches(names[key_of(call)], self.vms)

    def _read(self, call: SlowCall, names: VmNames, unix_ahead_ns: int) -> Slow:
        event = call.event
        return Slow(
            unix_ns=event.time_ns + unix_ahead_ns,
            vm=names[key_of(call)].label,
            duration_ns=event.duration_ns,
            of=_OF[self.probe](event),
            trigger=decode.TRIGGERS[call.trigger],
            comm=clean(event.comm.decode(errors="replace")),
            tid=event.tid,
            cpu=event.cpu,
            stack=tuple(self._stack(call)),
        )

    def _stack(self, call: SlowCall) -> Iterable[str]:
        """Where it came from, without what runs because somebody looks."""
        addresses = call.stack[: max(0, call.stack_bytes) // _ADDRESS_BYTES]
        names = dropwhile(lambda name: name.startswith(_WATCHERS), map(self._name, addresses))
        return (name for name in names if not name.startswith(_BPF))

    def _name(self, address: int) -> str:
        if address in self._symbols:
            return self._symbols[address]
        name = self.symbol(address)
        if len(self._symbols) < MAX_SYMBOLS:
            self._symbols[address] = name
        return name


def key_of(call: SlowCall) -> VmKey:
    """The VM that a slow call was for."""
    return VmKey(call.event.kvm, call.event.pid)


def calls(raw: bytes) -> list[SlowCall]:
    """What Loaded.drain gave."""
    size = ctypes.sizeof(SlowCall)
    return [SlowCall.from_buffer_copy(raw, at) for at in range(0, len(raw), size)]


def _notifier(event: decode.Event) -> dict[str, int | str]:
    return {"canonical_ipa": event.canonical_ipa, "size": event.size}


def _fault(event: decode.Event) -> dict[str, int | str]:
    canonical: dict[str, int | str] = {"canonical_ipa": event.canonical_ipa}
    nested = {"mmu": event.mmu, "nested_ipa": event.nested_ipa} if event.mmu else {}
    return canonical | nested | {"result": event.result}


def _unmap(event: decode.Event) -> dict[str, int | str]:
    return {
        "mmu": event.mmu,
        "nested_ipa": event.nested_ipa,
        "size": event.size,
        "scope": "full" if event.full else "ranged",
        "within": decode.WITHIN[event.detail],
    }


def _record(event: decode.Event) -> dict[str, int | str]:
    return {
        "mmu": event.mmu,
        "canonical_ipa": event.canonical_ipa,
        "nested_ipa": event.nested_ipa,
        "size": event.size,
        "outcome": decode.OUTCOMES[event.detail],
    }


_OF: Mapping[str, Callable[[decode.Event], dict[str, int | str]]] = {
    "notifier_unmap": _notifier,
    "s2_fault": _fault,
    "shadow_unmap": _unmap,
    "revmap_record": _record,
}
