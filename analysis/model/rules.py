"""What the kernel has to do, by the state of a shadow MMU. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nvscope.analysis.model.quick import maker
from nvscope.analysis.model.ranges import Entry
from nvscope.analysis.model.shadow import Shadow

# The values of entries, as in arch/arm64/include/asm/kvm_nested.h of the lab's patch and in the
# seed: VALID_ENTRY (bit 63) with the nested IPA of the range's start, which makes nested IPA 0 a
# non-zero value, or UNKNOWN_IPA (bit 62) alone.
VALID_ENTRY = 1 << 63
UNKNOWN_IPA = 1 << 62

STORED, UNCHANGED, OVERLAPPED = "stored", "unchanged", "overlapped"
FAILED, SKIPPED = "failed", "skipped"
BROKEN, RACED, MET_UNKNOWN = "broken", "raced", "unknown_ipa"


def nested_ipa(entry: Entry) -> int:
    """Where the start of a known entry is mapped.

    >>> nested_ipa(Entry(0x8000, 0x9000, VALID_ENTRY | 0x1000)) == 0x1000
    True
    """
    return entry.value & ~VALID_ENTRY


# What noting a mapping does to the entries: its outcome, those that go, and the one that comes.
Store = tuple[str, Sequence[Entry], Entry | None]

_NOTHING_TO_STORE: Store = (UNCHANGED, (), None)
_make_entry = maker(Entry)


def store(shadow: Shadow, nested: int, canonical: int, size: int) -> Store:
    """What recording a mapping does, if the reverse map is not broken and there is memory."""
    new = (canonical, canonical + size, nested | VALID_ENTRY)
    if shadow.entries.at(canonical) == new:
        return _NOTHING_TO_STORE
    end = canonical + size
    gone = shadow.entries.overlapping(canonical, end)
    if not gone:
        return STORED, gone, _make_entry(new)
    first, last = gone[0], gone[-1]
    if first.value == UNKNOWN_IPA and first.start <= canonical and end <= first.end:
        return _NOTHING_TO_STORE
    span = Entry(min(canonical, first.start), max(end, last.end), UNKNOWN_IPA)
    return OVERLAPPED, gone, span


def is_recorded(shadow: Shadow, nested: int, canonical: int, size: int) -> bool:
    """Whether the reverse map covers a mapping: what is mapped has to be in it, unless broken."""
    end = canonical + size
    if shadow.broken or shadow.entries.at(canonical) == (canonical, end, nested | VALID_ENTRY):
        return True
    entry = shadow.entries.first(canonical, end)
    if entry is None or entry.value != UNKNOWN_IPA:
        return False
    return entry.start <= canonical and end <= entry.end


class Fallback(NamedTuple):
    """All of the MMU is to be unmapped, because of `reason`."""

    reason: str


class Ranged(NamedTuple):
    """The nested range of just this entry is to be unmapped, and the entry taken out."""

    entry: Entry


Move = Fallback | Ranged | None
_make_ranged = maker(Ranged)


def next_move(shadow: Shadow, start: int, end: int, *, first: bool) -> Move:
    """What a notifier unmap does next of this MMU; None: no more.

    start, end: what is left of its canonical range. first: whether it comes to this MMU only now;
    a map that breaks under its hands it uses to the end.
    """
    if first and shadow.broken:
        return Fallback(BROKEN)
    if start >= end:
        return None
    if shadow.unmaps and shadow.full_unmaps:
        return Fallback(RACED)
    entry = shadow.entries.first(start, end)
    if entry is None:
        return None
    return Fallback(MET_UNKNOWN) if entry.value == UNKNOWN_IPA else _make_ranged((entry,))


def stale(shadow: Shadow, start: int, end: int) -> list[Entry]:
    """The known entries of the nested range [start, end): what v3 takes out at a TLBI. O(n)."""
    return [
        entry
        for entry in shadow.entries
        if entry.value != UNKNOWN_IPA
        and nested_ipa(entry) < end
        and start < nested_ipa(entry) + entry.end - entry.start
    ]
