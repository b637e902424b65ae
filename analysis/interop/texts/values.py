"""What single events say: their values as numbers and words, and whether all are there."""

from __future__ import annotations

from collections.abc import Mapping

from nvscope.analysis.interop.texts.text import Raw
from nvscope.analysis.interop.texts.wanted import EVENTS
from nvscope.analysis.model.mappings import is_leaf
from nvscope.probes.traces.events import DETAILS, Event

TRACEPOINT = "kvm_nested_revmap_broken"

_U64, S32 = (1 << 64) - 1, (1 << 31) - 1
_T0SZ = 0x3F  # VTCR_EL2.T0SZ, bits 5:0: the IPA space is 2**(64 - T0SZ) bytes
# Without a VTCR: no IPA space is smaller (Arm ARM, T0SZ of at most 39 with a 4 KiB granule).
_LEAST_FULL = 1 << 32

# Event -> values without which it says nothing.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "notifier_begin": ("start", "end"),
    "unmap_begin": ("mmu", "start", "size"),
    "map_begin": ("mmu", "addr", "size"),
    "map_end": ("result",),
    "record_begin": ("mmu", "nested", "canonical", "size"),
    "mmu_init": ("mmu",),
    "mmu_free": ("mmu",),
    "broken": ("mmu",),
    "fallback": ("mmu",),
    "mmus": ("kvm", "mmus"),
}

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


# What no row can say, as judging/rows.py checks it: mappings are leaves of page tables, and no
# address reaches 2^62.
_NO_ADDRESS = 1 << 62


def is_possible(row: Event) -> bool:
    """Whether a row has a range that can be: else a number in its line was damaged.

    >>> is_possible(Event("map", size=4096)), is_possible(Event("map", size=4097))
    (True, False)
    """
    size, canonical_ipa = row.size, row.canonical_ipa
    if row.kind in ("map", "record"):
        return is_leaf(size) and max(size, canonical_ipa, row.nested_ipa) < _NO_ADDRESS
    if row.kind in ("notifier_begin", "notifier_end"):
        return 0 < size <= _NO_ADDRESS and canonical_ipa < _NO_ADDRESS
    return True


def is_ours(event: str) -> bool:
    """Whether an event of this name becomes a row, or a part of one."""
    return event in EVENTS or event == TRACEPOINT


def is_whole(item: Raw) -> bool:
    """Whether an event has all without which it says nothing."""
    if item.event == TRACEPOINT:
        return pointer(item, "mmu") != 0
    return all(isinstance(item.values.get(name), int) for name in _NEEDED.get(item.event, ()))


def number(item: Raw, name: str) -> int:
    """A value of 64 bits; 0 where there is none."""
    value = item.values.get(name, 0)
    return value & _U64 if isinstance(value, int) else 0


def pointer(item: Raw, name: str) -> int:
    """The same of one that a tracepoint prints: without its 0x."""
    try:
        return int(str(item.values.get(name, "0")), 16) & _U64
    except ValueError:
        return 0


def result(item: Raw) -> int:
    """What a function returned, as an int of C."""
    value = number(item, "result") & 0xFFFFFFFF
    return value - (1 << 32) if value > S32 else value


def canonical(item: Raw) -> int:
    """Where a fault leads: what the guest's own stage 2 says, if it is on."""
    return number(item, "output") if number(item, "nested") else number(item, "ipa")


def word(words: Mapping[str, Mapping[str, str]], kind: str, item: Raw, name: str) -> str:
    """The `detail` of a row of this kind that a value stands for. words: as of WORDS."""
    found = words.get(f"kvm_revmap_{kind}", {}).get(str(item.values.get(name)), "unknown")
    return found if found in DETAILS[kind] else "unknown"


def is_full(item: Raw) -> bool:
    """Whether an unmap is of all of its MMU."""
    if "full" in item.values:
        return bool(number(item, "full"))
    start, size = number(item, "start"), number(item, "size")
    t0sz = number(item, "vtcr") & _T0SZ
    if t0sz:
        return start == 0 and size >= 1 << (64 - t0sz)
    return start == 0 and size >= _LEAST_FULL and not size & (size - 1)
