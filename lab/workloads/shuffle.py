"""A nested guest on which random operations are done; every value that is read is checked.

Run as `python3 -m nvscope.lab.workloads.shuffle -name vmA --seed 7`; a seed always gives the same
operations. It ends with an error, naming the operation, where a value is wrong.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from nvscope.lab.workloads.kvm import KvmError
from nvscope.lab.workloads.main import NESTED_IPA, Request, Stop, expect, request_options, run
from nvscope.lab.workloads.stage2 import BLOCK_BYTES, PAGE_BYTES
from nvscope.lab.workloads.synthetic import DATA_IPA, L2AbortError, NestedGuest

CONTEXTS = 4  # on two shadow MMUs: a switch recycles one as a rule
PAGES = 16  # of guest memory, and of nested IPA space in which they are mapped, in any order
BLOCK_IPA = 0x4000_0000  # the nested IPA at which a 2 MiB block aliases the same pages
_MAPPED_AT_FIRST = 6  # nested pages of each context; the others are holes
_WRITABLE = 0.8  # this share of L1's mappings
_EC_DATA_ABORT = 0x24  # ESR_EL2.EC, data abort from a lower EL (Arm ARM D24.2, ESR_EL2)


@dataclass(frozen=True)
class _Mapping:
    """What L1 maps a nested page to. page: the number of a canonical page."""

    page: int
    writable: bool


class Shuffle:
    """The operations, and what each page must hold: a word at its start, 0 after a take-back.

    done: how often each operation was done, and how many L2 accesses ended in an "abort".
    """

    def __init__(self, guest: NestedGuest, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._guest = guest
        self._seed = seed
        self._random = random.Random(seed)
        self._words: defaultdict[int, int] = defaultdict(int)  # by canonical page
        self._context = 0
        # By context, then by nested page; blocks apart.
        self._mappings: list[dict[int, _Mapping]] = [{} for _ in range(CONTEXTS)]
        for context in range(CONTEXTS):
            guest.map(BLOCK_IPA, DATA_IPA, BLOCK_BYTES, context)
            for nested in self._random.sample(range(PAGES), _MAPPED_AT_FIRST):
                self._map(context, nested)
        # With the weights by which one is chosen.
        self._operations: dict[str, tuple[Callable[[], None], float]] = {
            "l2_write": (self._l2_write, 20),
            "l2_read": (self._l2_read, 20),
            "block_write": (self._block_write, 5),
            "block_read": (self._block_read, 5),
            "l1_write": (self._l1_write, 5),
            "l1_read": (self._l1_read, 5),
            "host_write": (self._host_write, 4),
            "host_read": (self._host_read, 4),
            "take_back": (self._take_back, 3),
            "remap": (self._remap, 6),
            "unmap": (self._unmap, 1),
            "switch": (self._switch, 4),
            "tlbi_page": (self._tlbi_page, 6),
            "tlbi_context": (guest.tlbi_context, 0.5),
            "tlbi_all": (guest.tlbi_all, 0.5),
        }

    def step(self, number: int) -> None:
        """Do one operation. number: for the message of the KvmError where a value is wrong."""
        weights = [weight for _, weight in self._operations.values()]
        [name] = self._random.choices(list(self._operations), weights)
        self.done[name] += 1
        with self._naming(f"operation {number} ({name})"):
            self._operations[name][0]()

    def check_all(self) -> None:
        """L1 reads every page. Raises KvmError."""
        with self._naming("after the last operation"):
            for page in range(PAGES):
                self._check(page, "L1", self._guest.l1_read(_canonical_ipa(page)).value)

    @contextmanager
    def _naming(self, when: str) -> Iterator[None]:
        try:
            yield
        except (KvmError, L2AbortError) as error:
            raise KvmError(f"seed {self._seed}, {when}: {error}") from None

    # ---- accesses

    def _l2_write(self) -> None:
        nested, count, first = self._page(), self._count(), self._word()
        for index, mapping in enumerate(self._l2_access(nested, count, write=True, value=first)):
            self._words[mapping.page] = first + index

    def _l2_read(self) -> None:
        self._l2_access(self._page(), self._count(), write=False)

    def _l2_access(self, nested: int, count: int, *, write: bool, value: int = 0) -> list[_Mapping]:
        """L2 accesses nested pages up to a hole or, writing, up to one that is read-only.

        Where it went through; what it read is checked unless it aborted.
        """
        allowed = self._allowed(nested, count, write)
        first_ipa, expected_ipa = _nested_ipa(nested), _nested_ipa(nested + len(allowed))
        try:
            if write:
                self._guest.l2_write(first_ipa, value, count)
            else:
                total = self._guest.l2_read(first_ipa, count).sum
        except L2AbortError as abort:
            self.done["abort"] += 1
            expect(f"number of accesses from {first_ipa:#x} on", abort.done, len(allowed))
            expect("nested IPA of an abort", abort.nested_ipa, expected_ipa)
            expect("exception class of an abort", abort.esr >> 26, _EC_DATA_ABORT)
        else:
            expect(f"number of accesses from {first_ipa:#x} on", count, len(allowed))
            if not write:
                words = (self._words[mapping.page] for mapping in allowed)
                expect(
                    f"sum of {count} pages from {first_ipa:#x} on", total, sum(words) % (1 << 64)
                )
        return allowed

    def _allowed(self, nested: int, count: int, write: bool) -> list[_Mapping]:
        """The mappings of the pages that L2 reaches before it aborts to L1."""
        reached: list[_Mapping] = []
        for page in range(nested, nested + count):
            mapping = self._mappings[self._context].get(page)
            if mapping is None or (write and not mapping.writable):
                break
            reached.append(mapping)
        return reached

    def _block_write(self) -> None:
        page = self._page()
        self._guest.l2_write(BLOCK_IPA + page * PAGE_BYTES, self._new_word(page))

    def _block_read(self) -> None:
        page = self._page()
        self._check(page, "L2", self._guest.l2_read(BLOCK_IPA + page * PAGE_BYTES).value)

    def _l1_write(self) -> None:
        page = self._page()
        self._guest.l1_write(_canonical_ipa(page), self._new_word(page))

    def _l1_read(self) -> None:
        page = self._page()
        self._check(page, "L1", self._guest.l1_read(_canonical_ipa(page)).value)

    def _host_write(self) -> None:
        page = self._page()
        self._guest.host_write(_canonical_ipa(page), self._new_word(page))

    def _host_read(self) -> None:
        page = self._page()
        self._check(page, "the host", self._guest.host_read(_canonical_ipa(page)))

    def _new_word(self, page: int) -> int:
        self._words[page] = word = self._word()
        return word

    def _check(self, page: int, reader: str, found: int) -> None:
        where = f"canonical {_canonical_ipa(page):#x}, read by {reader}"
        expect(f"data at {where}", found, self._words[page])

    # ---- what makes mappings go

    def _take_back(self) -> None:
        page = self._page()
        count = min(self._random.choice([1, 1, 2, 3]), PAGES - page)
        self._guest.take_back(_canonical_ipa(page), count * PAGE_BYTES)
        for taken in range(page, page + count):
            self._words[taken] = 0

    def _remap(self) -> None:
        """Break before make: L2 must never see the page that was there before."""
        nested = self._page()
        self._break(nested)
        self._map(self._context, nested)

    def _unmap(self) -> None:
        self._break(self._page())

    def _map(self, context: int, nested: int) -> None:
        """L1 maps a nested page that is invalid: no TLBI is due."""
        mapping = _Mapping(self._page(), self._random.random() < _WRITABLE)
        self._mappings[context][nested] = mapping
        canonical_ipa = _canonical_ipa(mapping.page)
        self._guest.map(
            _nested_ipa(nested), canonical_ipa, PAGE_BYTES, context, writable=mapping.writable
        )

    def _break(self, nested: int) -> None:
        """Make a nested page of the current context invalid, and KVM forget it."""
        if self._mappings[self._context].pop(nested, None) is not None:
            self._guest.unmap(_nested_ipa(nested), PAGE_BYTES, self._context)
            self._guest.tlbi_page(_nested_ipa(nested))

    def _switch(self) -> None:
        self._context = self._random.randrange(CONTEXTS)
        self._guest.switch(self._context)

    def _tlbi_page(self) -> None:
        base_ipa = self._random.choice([NESTED_IPA, BLOCK_IPA])
        self._guest.tlbi_page(base_ipa + self._page() * PAGE_BYTES)

    # ---- chance

    def _page(self) -> int:
        return self._random.randrange(PAGES)

    def _count(self) -> int:
        return self._random.choice([1, 1, 2, 4])

    def _word(self) -> int:
        return self._random.getrandbits(60)


def _nested_ipa(nested: int) -> int:
    return NESTED_IPA + nested * PAGE_BYTES


def _canonical_ipa(page: int) -> int:
    return DATA_IPA + page * PAGE_BYTES


def _full_unmaps(guest: NestedGuest) -> int:
    counts = guest.ledger.counts
    return counts.full_unmaps_in_notifier + counts.full_unmaps_elsewhere


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--seed", type=int, required=True, help="Of the random operations.")
@click.option("--operations", type=click.IntRange(0), default=150, show_default=True)
@click.option(
    "--max-full-unmaps",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Begin no operation after so many full shadow unmaps, which take the time.",
)
def main(seed: int, operations: int, max_full_unmaps: int, **request: Any) -> None:
    """Do random operations on a nested guest, and print what they must have caused, as JSON."""

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        shuffle = Shuffle(guest, seed)
        number = 0
        while number < operations and _full_unmaps(guest) < max_full_unmaps and not stop.asked:
            number += 1
            shuffle.step(number)
        shuffle.check_all()
        return {"seed": seed, "operations": number, "done": dict(shuffle.done)}

    run(Request(**request), BLOCK_BYTES, play)


if __name__ == "__main__":
    main()
