"""A nested guest on which random operations are done; every value that is read is checked.

Run as `python3 -m nvscope.lab.workloads.shuffle -name vmA --seed 7`; a seed always gives the same
operations. At the end each page is taken back, and whatever still leads to it has to go. It ends
with an error, naming the operation, where a value is wrong.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from nvscope.lab.workloads.ledger.unknown import UnknownLedger
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import (
    NESTED_IPA,
    Request,
    Stop,
    expect,
    request_options,
    run,
)
from nvscope.lab.workloads.vmm.kvm import KvmError
from nvscope.lab.workloads.vmm.mailbox import L2AbortError

CONTEXTS = 4  # on two shadow MMUs: a switch recycles one as a rule
PAGES = 16  # of guest memory, and of nested IPA space in which they are mapped, in any order
BLOCK_IPA = 0x4000_0000  # the nested IPA at which a 2 MiB block aliases the same pages
_MAPPED_AT_FIRST = 12  # nested pages of each context; the others are holes
_WRITABLE = 0.8  # this share of L1's mappings
_EC_DATA_ABORT = 0x24  # ESR_EL2.EC, data abort from a lower EL (Arm ARM D24.2, ESR_EL2)


@dataclass(frozen=True)
class _Mapping:
    """What L1 maps a nested page to. page: the number of a canonical page."""

    page: int
    writable: bool


class Shuffle:
    """The operations, and what each page must hold: a word at its start, 0 after a take-back.

    el1: L1's own EL1, with L1's stage 2 off, accesses pages too. done: how often each operation was
    done, and how many L2 accesses ended in an "abort".
    """

    def __init__(self, guest: NestedGuest, seed: int, *, el1: bool = False) -> None:
        self.done: Counter[str] = Counter()
        self._guest = guest
        self._seed = seed
        self._random = random.Random(seed)
        # See ledger.unknown.
        self._writable = 1.0 if isinstance(guest.ledger, UnknownLedger) else _WRITABLE
        self._words: defaultdict[int, int] = defaultdict(int)  # by canonical page
        self._context = 0
        # By context, then by nested page; blocks apart.
        self._mappings: list[dict[int, _Mapping]] = [{} for _ in range(CONTEXTS)]
        for context in range(CONTEXTS):
            guest.map(BLOCK_IPA, DATA_IPA, BLOCK_BYTES, context)
            for nested in self._random.sample(range(PAGES), _MAPPED_AT_FIRST):
                self._map(context, nested)
        self._operations = self._weighted(guest)
        if el1:
            self._operations |= self._weighted_el1(guest)

    def _weighted(self, guest: NestedGuest) -> dict[str, tuple[float, Callable[[], object]]]:
        """Name of an operation -> the weight with which chance chooses it, what does it."""
        return {
            "l2_write": (20, self._l2_write),
            "l2_read": (20, self._l2_read),
            "block_write": (5, lambda: self._write(guest.l2_write, BLOCK_IPA)),
            "block_read": (5, lambda: self._read(lambda ipa: guest.l2_read(ipa).value, BLOCK_IPA)),
            "l1_write": (5, lambda: self._write(guest.l1_write, DATA_IPA)),
            "l1_read": (5, lambda: self._read(lambda ipa: guest.l1_read(ipa).value, DATA_IPA)),
            "host_write": (4, lambda: self._write(guest.host_write, DATA_IPA)),
            "host_read": (4, lambda: self._read(guest.host_read, DATA_IPA)),
            "take_back": (4, self._take_back),
            "remap": (6, self._remap),
            "unmap": (2, self._unmap),
            "switch": (6, self._switch),
            "tlbi_page": (6, self._tlbi_page),
            "tlbi_context": (2, guest.tlbi_context),
            "tlbi_all": (2, guest.tlbi_all),
        }

    def _weighted_el1(self, guest: NestedGuest) -> dict[str, tuple[float, Callable[[], object]]]:
        return {
            "el1_write": (10, lambda: self._write(guest.el1_write, DATA_IPA)),
            "el1_read": (10, lambda: self._read(lambda ipa: guest.el1_read(ipa).value, DATA_IPA)),
            "el1_tlbi_page": (3, lambda: guest.tlbi_page(_at(DATA_IPA, self._page()))),
        }

    def step(self, number: int) -> None:
        """Do one operation. number: for the message of the KvmError where a value is wrong."""
        weights = [weight for weight, _ in self._operations.values()]
        [name] = self._random.choices(list(self._operations), weights)
        self.done[name] += 1
        with self._naming(f"operation {number} ({name})"):
            self._operations[name][1]()

    def check_all(self) -> None:
        """L1 reads every page. Raises KvmError."""
        with self._naming("after the last operation"):
            for page in range(PAGES):
                self._check(page, DATA_IPA, self._guest.l1_read(_at(DATA_IPA, page)).value)

    @contextmanager
    def _naming(self, when: str) -> Iterator[None]:
        try:
            yield
        except (KvmError, L2AbortError) as error:
            raise KvmError(f"seed {self._seed}, {when}: {error}") from None

    # ---- accesses

    def _l2_write(self) -> None:
        nested, count, word = self._page(), self._count(), self._word()
        reached = self._reached(nested, count, write=True)
        access = partial(self._guest.l2_write, _at(NESTED_IPA, nested), word, count)
        if len(reached) < count:
            self._abort(access, nested, len(reached))
        else:
            access()
        for index, page in enumerate(reached):
            self._words[page] = word + index

    def _l2_read(self) -> None:
        nested, count = self._page(), self._count()
        reached = self._reached(nested, count, write=False)
        first_ipa = _at(NESTED_IPA, nested)
        if len(reached) < count:
            self._abort(partial(self._guest.l2_read, first_ipa, count), nested, len(reached))
        if reached:  # again after an abort: what L2 read before it does not come back
            total = self._guest.l2_read(first_ipa, len(reached)).sum
            words = sum(self._words[page] for page in reached)
            expect(f"sum of {len(reached)} pages from {first_ipa:#x} on", total, words % (1 << 64))

    def _reached(self, nested: int, count: int, *, write: bool) -> list[int]:
        """The canonical pages behind the nested ones that L2 reaches before it aborts to L1.

        It does so at a hole and, writing, at a page that is read-only.
        """
        reached: list[int] = []
        for at in range(nested, nested + count):
            mapping = self._mappings[self._context].get(at)
            if mapping is None or (write and not mapping.writable):
                break
            reached.append(mapping.page)
        return reached

    def _abort(self, access: Callable[[], object], nested: int, done: int) -> None:
        """An access of nested pages that must abort to L1 after so many."""
        try:
            access()
        except L2AbortError as abort:
            self.done["abort"] += 1
            expect("number of accesses before an abort", abort.done, done)
            expect("nested IPA of an abort", abort.nested_ipa, _at(NESTED_IPA, nested + done))
            expect("exception class of an abort", abort.esr >> 26, _EC_DATA_ABORT)
        else:
            raise KvmError(f"no abort at {_at(NESTED_IPA, nested + done):#x}")

    def _write(self, write: Callable[[int, int], object], base_ipa: int) -> None:
        page, word = self._page(), self._word()
        write(_at(base_ipa, page), word)
        self._words[page] = word

    def _read(self, read: Callable[[int], int], base_ipa: int) -> None:
        page = self._page()
        self._check(page, base_ipa, read(_at(base_ipa, page)))

    def _check(self, page: int, base_ipa: int, found: int) -> None:
        expect(f"data at {_at(base_ipa, page):#x}", found, self._words[page])

    # ---- what makes mappings go

    def _take_back(self) -> None:
        page = self._page()
        self.take_back(page, min(self._random.choice([1, 1, 2, 3]), PAGES - page))

    def take_back(self, page: int, count: int = 1) -> None:
        """The host takes pages back."""
        self._guest.take_back(_at(DATA_IPA, page), count * PAGE_BYTES)
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
        page, writable = self._page(), self._random.random() < self._writable
        self._mappings[context][nested] = _Mapping(page, writable)
        nested_ipa, canonical_ipa = _at(NESTED_IPA, nested), _at(DATA_IPA, page)
        self._guest.map(nested_ipa, canonical_ipa, PAGE_BYTES, context, writable=writable)

    def _break(self, nested: int) -> None:
        """Make a nested page of the current context invalid, and KVM forget it."""
        if self._mappings[self._context].pop(nested, None) is not None:
            self._guest.unmap(_at(NESTED_IPA, nested), PAGE_BYTES, self._context)
            self._guest.tlbi_page(_at(NESTED_IPA, nested))

    def _switch(self) -> None:
        self._context = self._random.randrange(CONTEXTS)
        self._guest.switch(self._context)

    def _tlbi_page(self) -> None:
        base_ipa = self._random.choice([NESTED_IPA, BLOCK_IPA])
        self._guest.tlbi_page(_at(base_ipa, self._page()))

    def _page(self) -> int:
        return self._random.randrange(PAGES)

    def _count(self) -> int:
        return self._random.choice([1, 1, 2, 4])

    def _word(self) -> int:
        return self._random.getrandbits(60)


def _at(base_ipa: int, page: int) -> int:
    return base_ipa + page * PAGE_BYTES


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--seed", type=int, required=True, help="Of the random operations.")
@click.option("--operations", type=click.IntRange(0), default=150, show_default=True)
@click.option("--el1", is_flag=True, help="L1's own EL1, with its stage 2 off, accesses pages too.")
@click.option(
    "--max-full-unmaps",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Begin no operation after so many full shadow unmaps, which take the time.",
)
def main(seed: int, operations: int, el1: bool, max_full_unmaps: int, **request: Any) -> None:
    """Do random operations on a nested guest, and print what they must have caused, as JSON."""

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        def goes_on() -> bool:
            return guest.ledger.counts.full_unmaps < max_full_unmaps and not stop.asked

        shuffle = Shuffle(guest, seed, el1=el1)
        number = 0
        while number < operations and goes_on():
            number += 1
            shuffle.step(number)
        # Page by page, for a notifier of several pages hides what one of them alone would show.
        for page in filter(lambda _: goes_on(), range(PAGES)):
            shuffle.take_back(page)
        shuffle.check_all()
        return {"seed": seed, "operations": number, "done": dict(shuffle.done)}

    run(Request(**request), BLOCK_BYTES, play)


if __name__ == "__main__":
    main()
