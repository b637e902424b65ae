"""What the kernel has to do, by the state of a shadow MMU. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nvscope.analysis.model.mappings import Mapping, make_mapping
from nvscope.analysis.model.quick import maker
from nvscope.analysis.model.ranges import Entry
from nvscope.analysis.model.shadow import Shadow
from nvscope.analysis.model.tracked import Tracked

# The values of entries, as in arch/arm64/include/asm/kvm_nested.h of the lab's patch and in the
# seed: VALID_ENTRY (bit 63) with the nested IPA of the range's start, which makes nested IPA 0 a
# non-zero value, or UNKNOWN_IPA (bit 62) alone.
VALID_ENTRY = 1 << 63
UNKNOWN_IPA = 1 << 62

STORED, UNCHANGED, OVERLAPPED = "stored", "unchanged", "overlapped"
EITHER = "stored or unchanged"  # whether it is tracked still is not known
FAILED, SKIPPED = "failed", "skipped"
BROKEN, RACED, MET_UNKNOWN = "broken", "raced", "unknown_ipa"


def nested_ipa(entry: Entry) -> int:
    """Where the start of a known entry is mapped.

    >>> nested_ipa(Entry(0x8000, 0x9000, VALID_ENTRY | 0x1000)) == 0x1000
    True
    """
    return entry.value & ~VALID_ENTRY


# What noting a mapping does to the entries: its outcome, those that go, and the one that comes.
Store = tuple[str, Sequence[Entry | Mapping], Entry | Mapping | None]

_NOTHING_TO_STORE: Store = (UNCHANGED, (), None)
_make_entry = maker(Entry)


def store(shadow: Shadow, nested: int, canonical: int, size: int, row: int = 0) -> Store:
    """What recording a mapping does, if the reverse map is not broken and there is memory.

    row: of the record, for what is tracked.
    """
    if shadow.tracked is not None:
        return _track(shadow, shadow.tracked, make_mapping((nested, canonical, size, row, True)))
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


def _track(shadow: Shadow, tracked: Tracked, new: Mapping) -> Store:
    """kvm_guest_s2_track()."""
    old = tracked.get(*new[:3])
    if old is None:
        return STORED, (), new
    return (UNCHANGED, (), None) if shadow.is_certain(old) else (EITHER, (old,), new)


def is_recorded(shadow: Shadow, nested: int, canonical: int, size: int) -> bool:
    """Whether the reverse map covers a mapping: what is mapped has to be in it, unless broken."""
    if shadow.tracked is not None:
        return shadow.broken or shadow.tracked.get(nested, canonical, size) is not None
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
    if shadow.broken and (first or shadow.tracked is not None):
        return Fallback(BROKEN)
    if start >= end:
        return None
    if shadow.tracked is not None:
        return _next_tracked(shadow, shadow.tracked, start, end)
    if shadow.unmaps and shadow.full_unmaps:
        return Fallback(RACED)
    entry = shadow.entries.first(start, end)
    if entry is None:
        return None
    return Fallback(MET_UNKNOWN) if entry.value == UNKNOWN_IPA else _make_ranged((entry,))


def _next_tracked(shadow: Shadow, tracked: Tracked, start: int, end: int) -> Move:
    """One of those that are tracked for sure: which of them comes first makes no difference."""
    certain = [m for m in tracked.leading_into(start, end) if shadow.is_certain(m)]
    return _ranged(min(certain, key=lambda m: m.canonical)) if certain else None


def may_be_next(shadow: Shadow, start: int, end: int, nested: int, size: int) -> Ranged | None:
    """The move that is a ranged unmap of [nested, +size), where the kernel tracks mappings.

    start, end: the notifier's range.
    """
    if shadow.tracked is None:
        return None
    for mapping in shadow.tracked.leading_into(start, end):
        if (mapping.nested, mapping.size) == (nested, size):
            return _ranged(mapping)
    return None


def tracked(shadow: Shadow, start: int, end: int) -> list[Entry]:
    """What is tracked of the canonical range [start, end), as entries, in order."""
    if shadow.tracked is None:
        return []
    return sorted(_as_entry(mapping) for mapping in shadow.tracked.leading_into(start, end))


def _as_entry(mapping: Mapping) -> Entry:
    nested, canonical, size, _, _ = mapping
    return Entry(canonical, canonical + size, nested | VALID_ENTRY)


def _ranged(mapping: Mapping) -> Ranged:
    return Ranged(_as_entry(mapping))


def stale(shadow: Shadow, start: int, end: int) -> list[Entry]:
    """The known entries of the nested range [start, end): what v3 takes out at a TLBI. O(n)."""
    return [
        entry
        for entry in shadow.entries
        if entry.value != UNKNOWN_IPA
        and nested_ipa(entry) < end
        and start < nested_ipa(entry) + entry.end - entry.start
    ]
