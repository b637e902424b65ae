"""What a shadow MMU maps, and whose unmap a fault makes good, against a list of pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.interop.refaults import Refaults
from tests.unit.analysis.profiles import PROFILE

PAGE, BLOCK = 4096, 4 * 4096

maps = st.tuples(st.just("map"), st.integers(0, 40), st.sampled_from([PAGE, BLOCK]))
unmaps = st.tuples(st.sampled_from(["notifier", "tlbi"]), st.integers(0, 40), st.integers(1, 12))
alls = st.tuples(st.sampled_from(["notifier", "tlbi"]), st.just(0), st.just(0))


class Pages:
    """The same in the plainest way: mapped: page -> the first page of its leaf; owed -> by whom."""

    def __init__(self) -> None:
        self.mapped: dict[int, int] = {}
        self.owed: dict[int, int] = {}

    def unmap(self, pages: range) -> set[int]:
        leaves = {self.mapped[page] for page in pages if page in self.mapped}
        gone = {page for page, leaf in self.mapped.items() if leaf in leaves}
        for page in gone:
            del self.mapped[page]
        return gone


@given(st.lists(st.one_of(maps, maps, unmaps, alls), max_size=60))
@PROFILE
def test_it_is_as_a_list_of_pages(steps: list[tuple[str, int, int]]) -> None:
    mmu, plain = Refaults[int](), Pages()
    for step, (what, at, size) in enumerate(steps):
        if what == "map":
            start = at & -(size // PAGE)
            pages = range(start, start + size // PAGE)
            back = mmu.map(start * PAGE, 0, size)
            plain.unmap(pages)
            told = {page: plain.owed.pop(page) for page in pages if page in plain.owed}
            assert told == {
                page: part.value
                for part in back
                for page in range(part.start // PAGE, part.end // PAGE)
            }
            plain.mapped |= dict.fromkeys(pages, start)
        else:
            full = size == 0
            pages = range(1000) if full else range(at, at + size)
            taken = mmu.unmap(at * PAGE, size * PAGE, full=full)
            gone = plain.unmap(pages)
            assert sum(mapping.size for mapping in taken) == len(gone) * PAGE
            if what == "notifier":
                mmu.owe(taken, step)
                plain.owed |= dict.fromkeys(gone, step)
            else:
                mmu.forgive(at * PAGE, size * PAGE, full=full)
                plain.owed = {page: by for page, by in plain.owed.items() if page not in pages}
        assert mmu.count == len(set(plain.mapped.values())) == len(list(mmu))
        assert mmu.bytes == len(plain.mapped) * PAGE


def test_what_no_page_table_has_is_left_out() -> None:
    mmu = Refaults[str]()
    for size in (0, 1, PAGE - 1, 3 * PAGE, (1 << 64) - 1):
        assert mmu.map(0, 0, size) == []
    assert (mmu.count, mmu.bytes, mmu.left_out, list(mmu)) == (0, 0, 5, [])
