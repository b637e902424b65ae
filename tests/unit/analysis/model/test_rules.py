"""The rules of the reverse map one by one; each test's first line is the sentence it holds to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.model import rules
from nvscope.analysis.model.lookup import Lookup
from nvscope.analysis.model.mappings import Mapping, Mappings
from nvscope.analysis.model.ranges import Entry, Ranges
from nvscope.analysis.model.rules import UNKNOWN_IPA, VALID_ENTRY, Fallback, Ranged
from nvscope.analysis.model.shadow import Shadow, Unmap
from tests.unit.analysis.kernel import BLOCK, HUGE, PAGE, TOP
from tests.unit.analysis.profiles import PROFILE


def record(shadow: Shadow, nested: int, canonical: int, size: int) -> str:
    outcome, gone, new = rules.store(shadow, nested, canonical, size)
    if new is not None:
        shadow.replace(gone, new)
    return outcome


def entries(shadow: Shadow) -> list[Entry]:
    return list(shadow.entries)


def test_valid_entry_makes_nested_ipa_0_a_value() -> None:
    """VALID_ENTRY (bit 63): if nested IPA == 0, we still insert a non-zero entry."""
    shadow = Shadow(1)
    assert record(shadow, 0, 0, PAGE) == "stored"
    assert entries(shadow) == [Entry(0, PAGE, 1 << 63)]
    assert rules.nested_ipa(entries(shadow)[0]) == 0


def test_an_overlap_becomes_one_entry_that_spans_all() -> None:
    """All the overlapping entries are replaced by one of UNKNOWN_IPA, and no VALID_ENTRY."""
    shadow = Shadow(1)
    for page in (0, 1, 3):
        assert record(shadow, page * PAGE, page * PAGE, PAGE) == "stored"
    assert record(shadow, BLOCK, 0, 2 * PAGE) == "overlapped"
    assert entries(shadow) == [
        Entry(0, 2 * PAGE, 1 << 62),
        Entry(3 * PAGE, 4 * PAGE, VALID_ENTRY | 3 * PAGE),
    ]
    assert record(shadow, 0, 0, HUGE) == "overlapped"
    assert entries(shadow) == [Entry(0, HUGE, UNKNOWN_IPA)]


def test_the_same_again_changes_nothing() -> None:
    """The same range with the same nested IPA again (a permission change) changes nothing."""
    shadow = Shadow(1)
    record(shadow, BLOCK, 0, BLOCK)
    assert record(shadow, BLOCK, 0, BLOCK) == "unchanged"
    assert record(shadow, 2 * BLOCK, 0, BLOCK) == "overlapped"
    assert record(shadow, 7 * PAGE, PAGE, PAGE) == "unchanged"
    assert entries(shadow) == [Entry(0, BLOCK, UNKNOWN_IPA)]


def test_neighbours_do_not_overlap() -> None:
    """Keyed by canonical IPA range: one that ends where the next begins is another."""
    shadow = Shadow(1)
    outcomes = [record(shadow, TOP - PAGE, page * PAGE, PAGE) for page in (1, 0, 2)]
    assert outcomes == ["stored"] * 3


def test_what_a_notifier_does() -> None:
    """Known: unmap its nested range. UNKNOWN_IPA: full unmap. No entry: nothing to do."""
    shadow = Shadow(1)
    record(shadow, BLOCK, 0, PAGE)
    record(shadow, 0, BLOCK, PAGE)
    record(shadow, HUGE, BLOCK, PAGE)
    known = Entry(0, PAGE, VALID_ENTRY | BLOCK)
    assert rules.next_move(shadow, 0, HUGE, first=True) == Ranged(known)
    assert rules.next_move(shadow, PAGE, HUGE, first=False) == Fallback("unknown_ipa")
    assert rules.next_move(shadow, PAGE, BLOCK, first=False) is None
    assert rules.next_move(shadow, HUGE, PAGE, first=False) is None


def test_a_broken_map_is_looked_at_only_first() -> None:
    """nested_revmap_broken: full unmap of this MMU, whatever the range."""
    shadow = Shadow(1)
    shadow.breaks(7)
    assert rules.next_move(shadow, 0, PAGE, first=True) == Fallback("broken")
    assert rules.next_move(shadow, 0, PAGE, first=False) is None
    shadow.begin_unmap(Unmap(8, 0, TOP, True))
    assert not shadow.broken


def test_a_race_is_looked_at_each_time() -> None:
    """Until a full unmap is done, there are mappings that the tree no longer has."""
    shadow = Shadow(1)
    unmap = Unmap(8, 0, TOP, True)
    shadow.begin_unmap(unmap)
    assert rules.next_move(shadow, 0, PAGE, first=True) == Fallback("raced")
    shadow.end_unmap(unmap)
    assert rules.next_move(shadow, 0, PAGE, first=True) is None
    shadow.begin_unmap(Unmap(9, 0, PAGE, False))
    assert rules.next_move(shadow, 0, PAGE, first=True) is None


def test_what_is_mapped_has_to_be_recorded() -> None:
    """The reverse map must cover all that is mapped, unless it is broken."""
    shadow = Shadow(1)
    assert not rules.is_recorded(shadow, 0, 0, PAGE)
    record(shadow, 0, 0, BLOCK)
    assert rules.is_recorded(shadow, 0, 0, BLOCK)
    assert not rules.is_recorded(shadow, 0, 0, PAGE)
    assert not rules.is_recorded(shadow, PAGE, 0, BLOCK)
    record(shadow, HUGE, 0, BLOCK)
    assert rules.is_recorded(shadow, PAGE, PAGE, PAGE)
    assert not rules.is_recorded(shadow, 0, 0, HUGE)
    shadow.breaks(1)
    assert rules.is_recorded(shadow, 0, 0, HUGE)


def test_what_a_tlbi_makes_stale() -> None:
    """v3 removes entries on TLBI; those whose nested IPA is not known cannot be found."""
    shadow = Shadow(1)
    record(shadow, 0, 0, BLOCK)
    record(shadow, BLOCK, BLOCK, BLOCK)
    assert rules.stale(shadow, BLOCK - PAGE, BLOCK) == [Entry(0, BLOCK, VALID_ENTRY)]
    record(shadow, HUGE, 0, BLOCK)
    assert rules.stale(shadow, 0, BLOCK) == []


def test_leaves_go_whole() -> None:
    """An unmap takes away every mapping that it intersects, wholly; so does a new mapping."""
    shadow = Shadow(1)
    shadow.make(Mapping(0, HUGE, BLOCK, 1))
    unmap = Unmap(2, PAGE, 2 * PAGE, False)
    shadow.begin_unmap(unmap)
    assert [m.nested for m in shadow.end_unmap(unmap)] == [0]
    shadow.make(Mapping(0, HUGE, BLOCK, 3))
    shadow.make(Mapping(PAGE, 0, PAGE, 4))
    assert [m.size for m in shadow.mappings] == [PAGE]


@pytest.mark.parametrize("full", [True, False])
def test_what_is_made_during_an_unmap_may_be_gone(full: bool) -> None:
    """kvm_stage2_unmap_range may drop and retake mmu_lock between 1 GiB steps."""
    shadow = Shadow(1)
    shadow.make(Mapping(0, 0, PAGE, 1))
    unmap = Unmap(2, 0, TOP if full else HUGE, full)
    shadow.begin_unmap(unmap)
    assert not any(map(shadow.is_certain, shadow.mappings))
    shadow.make(Mapping(PAGE, PAGE, PAGE, 3))
    assert [m.nested for m in shadow.end_unmap(unmap)] == [0]
    assert [(m.nested, m.certain) for m in shadow.mappings] == [(PAGE, False)]


# Entries as small and as wide as there are: in one region of Ranges, and over many.
places = st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from([1, PAGE, 1 << 25]))
spans = places.map(lambda p: (p[0] * p[2], (p[0] + p[1]) * p[2]))


@given(st.lists(st.tuples(spans, st.booleans())), st.lists(spans, min_size=1))
@PROFILE
def test_ranges_are_as_a_plain_list(
    changes: list[tuple[tuple[int, int], bool]], asked: list[tuple[int, int]]
) -> None:
    ranges, plain = Ranges(), list[Entry]()
    for number, ((start, end), adds) in enumerate(changes):
        over = [e for e in plain if e.start < end and start < e.end]
        if adds and not over:
            plain.append(Entry(start, end, number))
            ranges.add(plain[-1])
        elif not adds and over:
            plain.remove(over[0])
            ranges.remove(over[0])
    plain.sort()
    assert list(ranges) == plain
    assert len(ranges) == len(plain)
    for start, end in asked:
        over = [e for e in plain if e.start < end and start < e.end]
        assert ranges.overlapping(start, end) == over
        assert ranges.first(start, end) == (over[0] if over else None)


leaves = st.tuples(
    *(st.integers(0, 40), st.integers(0, 40), st.sampled_from([PAGE, 4 * PAGE, BLOCK]))
)


@given(st.lists(leaves), st.lists(spans, min_size=1), st.booleans())
@PROFILE
def test_mappings_are_as_a_plain_list(
    made: list[tuple[int, int, int]], asked: list[tuple[int, int]], aligned: bool
) -> None:
    mappings, plain = Mappings(), list[Mapping]()
    for row, (nested, canonical, size) in enumerate(made):
        unit = size if aligned else PAGE
        new = Mapping(nested * unit, canonical * unit, size, row)
        end = new.nested + size
        gone = [m for m in plain if m.nested < end and new.nested < m.nested + m.size]
        plain = [m for m in plain if m not in gone] + [new]
        assert sorted(mappings.make(new)) == sorted(gone)
        assert mappings.make(new._replace(made=-1), anew=False) == []
        assert mappings.make(new) == [new]
    assert sorted(mappings) == sorted(plain)
    assert len(mappings) == len(plain)
    assert bool(mappings) == bool(plain)
    for start, end in asked:
        if end - start >= PAGE and not start % PAGE:
            by_nested = [m for m in plain if m.nested < end and start < m.nested + m.size]
            to = [m for m in plain if m.canonical < end and start < m.canonical + m.size]
            assert sorted(mappings.mapped_in(start, end)) == sorted(by_nested)
            assert sorted(mappings.leading_into(start, end)) == sorted(to)


@pytest.mark.parametrize("count", [3, 9, 40])
def test_one_page_at_many_nested_ipas(count: int) -> None:
    """All lead into its range, whichever of them has gone."""
    mappings = Mappings()
    made = [Mapping(number * PAGE, BLOCK, PAGE, number) for number in range(count)]
    for mapping in made:
        mappings.make(mapping)
    while made:
        assert sorted(mappings.leading_into(BLOCK, BLOCK + PAGE)) == made
        mappings.remove(made.pop(len(made) // 2))
    assert not mappings
    assert mappings.leading_into(0, HUGE) == []


def test_a_page_at_ever_more_nested_ipas_costs_no_more() -> None:
    """A guest may map a page of zeros wherever it likes; each mapping costs what the first did."""
    mappings, began = Mappings(), time.process_time()
    for number in range(40_000):
        mappings.make(Mapping(number * PAGE, 0, PAGE, number))
    for mapping in list(mappings):
        mappings.remove(mapping)
    # 0.1 s; with a walk over all of them it took 30 s.
    assert time.process_time() - began < 3


def test_a_lookup_forgets_what_no_mmu_has() -> None:
    """v1's canonical tree: which MMUs a range concerns; it is no longer than what is recorded."""
    lookup, left = Lookup(), Ranges()
    lookup.add(0, BLOCK, 1)
    lookup.add(0, PAGE, 2)
    left.add(Entry(PAGE, 2 * PAGE, VALID_ENTRY))
    lookup.forget([Entry(0, PAGE, VALID_ENTRY)], left, 1)
    assert lookup.find(0, PAGE) == {1, 2}
    lookup.forget([Entry(0, BLOCK, VALID_ENTRY)], Ranges(), 1)
    assert lookup.find(0, PAGE) == {2}
    lookup.forget([Entry(0, PAGE, VALID_ENTRY)], Ranges(), 2)
    assert len(lookup) == 0
