"""The text of page tables: what is understood, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.verify.ptdump import PtdumpError, Table, parsed
from nvscope.analysis.verify.spans import common, merged, minus
from tests.unit.analysis.kernel import PAGE, TOP
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.verify.debugfs import BLOCK, LOCKED, READ_ONLY, VTTBR, WRITABLE, printed

GOOD = printed([(PAGE, 3 * PAGE, WRITABLE), (3 * PAGE, 4 * PAGE, READ_ONLY)])


# Of the lab kernel, 7.3.4: L1 runs its own EL1, with its stage 2 off.
REAL = """\
VTCR: 0x000000008001355c VTTBR: 0x0001000040100000 s2: disabled
---[ Guest IPA ]---
0x0000000000000000-0x0000000040000000           1G 1
0x0000000040000000-0x0000000040001000           4K 3   R W px ux  AF{four}
0x0000000040001000-0x0000000040200000        2044K 3
0x0000000040200000-0x0000000040202000           8K 3   R W px ux  AF{four}
0x0000000040202000-0x0000000040400000        2040K 3
0x0000000040400000-0x0000000080000000        1020M 2
0x0000000080000000-0x0000008000000000         510G 1
0x0000008000000000-0x0001000000000000      261632G 0
""".format(four=" " * 4)


def test_as_the_kernel_prints_it() -> None:
    table = parsed(REAL)
    assert table.mapped == ((0x4000_0000, 0x4000_1000), (0x4020_0000, 0x4020_2000))
    assert table.vttbr == 0x0001_0000_4010_0000


def test_runs_that_differ_in_attributes_alone_are_one_span() -> None:
    assert parsed(GOOD) == Table(((PAGE, 4 * PAGE),), VTTBR)


def test_what_is_not_valid_is_not_mapped() -> None:
    assert parsed(printed([(0, PAGE, LOCKED), (PAGE, 2 * PAGE, BLOCK)])).mapped == (
        (PAGE, 2 * PAGE),
    )


def test_a_shadow_mmu_without_a_context_prints_nothing() -> None:
    assert parsed(printed([], None)) == Table((), None)


def test_the_canonical_one_has_no_context() -> None:
    assert parsed(GOOD.split("\n", 1)[1]) == Table(((PAGE, 4 * PAGE),), None)


LINES = GOOD.split("\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD[:-1], "its last line has no end"),
        ("\n".join(LINES[:2]) + "\n", "line 2 is not"),
        (GOOD.replace("Guest IPA", "Guest"), "line 2 is not"),
        ("\n" + GOOD, "line 1 is not"),
        (GOOD.replace("VTTBR", "VTTBx"), "line 1 is not"),
        ("\n".join(LINES[:3] + LINES[4:]), "line 4 does not begin where"),
        ("\n".join(LINES[:2] + LINES[3:]), "line 3 does not begin where"),
        ("\n".join(LINES[:-2]) + "\n", "it does not go to the end"),
        (GOOD.replace("8K", "4K"), "line 4 has a range and a size"),
        (GOOD.replace(" 3   R W", " 3 X R W"), "line 4 is no range"),
        (GOOD.replace(" 3   R W", " 4   R W"), "line 4 is no range"),
        (GOOD + GOOD, "line 7 is no range"),
        (GOOD.replace("0x", "0X"), "line 1 is not"),
        (GOOD.replace("\n", "\r\n"), "line 1 is not"),
    ],
)
def test_what_the_kernel_would_not_print_is_refused(text: str, why: str) -> None:
    with pytest.raises(PtdumpError, match=why):
        parsed(text)


EDGES = st.lists(st.integers(0, 64), unique=True, max_size=12).map(sorted)
ATTRIBUTES = st.sampled_from([WRITABLE, READ_ONLY, BLOCK, LOCKED])


@given(EDGES, st.data())
@PROFILE
def test_what_is_printed_is_read_back(edges: list[int], data: st.DataObject) -> None:
    edges = edges[: len(edges) & ~1]
    pages = list(zip(edges[::2], edges[1::2], strict=True))
    runs = [(a * PAGE, b * PAGE, data.draw(ATTRIBUTES)) for a, b in pages]
    valid = [(start, end) for start, end, how in runs if how != LOCKED]
    assert parsed(printed(runs)).mapped == merged(valid)


# Pieces of which lines are made, so that some get far.
PIECES = st.sampled_from(
    [
        *GOOD.split(" "),
        *LINES,
        "\n",
        " ",
        "0x",
        "-",
        f"0x{TOP:016x}",
        "F",
        "BLK",
        "\0",
        "é",
        "9" * 30,
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join) | st.text())
@PROFILE
def test_nothing_but_a_table_or_a_line_comes_of_any_text(text: str) -> None:
    try:
        table = parsed(text)
    except PtdumpError as error:
        assert "\n" not in str(error)
    else:
        assert table.mapped == merged(table.mapped)


@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=0x7F))
@PROFILE
def test_a_changed_character_never_shifts_a_range(at: int, new: str) -> None:
    """It is refused, or changes attributes, a level or the context: not what is covered."""
    try:
        table = parsed(GOOD[:at] + new + GOOD[at + 1 :])
    except PtdumpError:
        return
    assert set(table.mapped) <= {(PAGE, 4 * PAGE), (PAGE, 3 * PAGE), (3 * PAGE, 4 * PAGE)}


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8).map(merged)


def points(spans: tuple[tuple[int, int], ...]) -> set[int]:
    return {point for start, end in spans for point in range(start, end)}


@given(SPANS, SPANS)
@PROFILE
def test_spans_are_sets(
    one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]
) -> None:
    for spans, expected in (
        (minus(one, other), points(one) - points(other)),
        (common(one, other), points(one) & points(other)),
        (merged(one + other), points(one) | points(other)),
    ):
        assert points(spans) == expected
        assert spans == merged(spans)
