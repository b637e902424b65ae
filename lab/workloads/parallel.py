"""vCPUs of one VM that fault at once, in one shadow MMU, and lose their pages between rounds.

Run as `python3 -m nvscope.lab.workloads.parallel -name vmA --vcpus 8 --rounds 8 --pages 8`. Which
vCPU faults first is chance, and the ledger's counts are exact all the same, because:

- Each vCPU touches pages of its own: a page that two want is mapped by one, and KVM may call
  user_mem_abort for both.
- All pages, L2's code apart, lie in one last-level table, in which an anchor page stays mapped. One
  vCPU alone touches anchor and code first: of two faults that both have to make a table, one is
  retried.
- No page is taken while a vCPU runs, which makes a fault be retried, too.
- Of the faults that race, all are refaults or none: a count of what is owed that comes to 0 among
  them could be taken twice. `refaults_are_certain` says so.

The pages of one vCPU are another's in the next round, and at its end each vCPU reads all pages:
that no fault comes of it shows that all have one shadow MMU. With --together 4 all vCPUs are on one
CPU until each kind of call was counted on it: where a task goes on to count where it did at first,
all then do so in one place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.synthetic.crew import Crew
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, BLOCK_PAGES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import (
    NESTED_IPA,
    Request,
    Stop,
    expect,
    request_options,
    run,
)

MOST_VCPUS = 64
# Of all vCPUs together: they and the anchor are less than a block, for which L1 would map a block.
MOST_PAGES = BLOCK_PAGES - 2
_FIRST_PAGE = 1  # behind the anchor
# That each vCPU invalidates one by one: each is an order, and stops all CPUs of an emulated host.
_TLBI_PAGES = 4


class Party:
    """The vCPUs of a guest, each a crew's thread, and pages for each that they touch and lose.

    takings: in which way the pages were taken away -> how often. Raises KvmError where a value that
    was read is wrong.
    """

    def __init__(self, guest: NestedGuest, crew: Crew, pages: int) -> None:
        self.takings: Counter[str] = Counter()
        self._guest, self._crew = guest, crew
        self._vcpus, self._pages = len(crew.threads), pages
        self._all_pages = self._vcpus * pages
        # The whole invalidation comes last: for then the mappings that the one by pages has left
        # counted (see shadow.Refaults) are forgotten.
        self._ways = {
            "by_one": self._take_by_one,
            "by_all": self._take_by_all,
            "tlbi_page": self._tlbi_page,
            "tlbi_context": self._tlbi_context,
        }
        guest.map(NESTED_IPA, DATA_IPA, (_FIRST_PAGE + self._all_pages) * PAGE_BYTES)
        guest.l1_read(DATA_IPA)
        self._touch(0)

    def play(self, turn: int) -> None:
        """All pages are taken away, in the way of this turn (0, 1, ...), and touched anew."""
        way = list(self._ways)[turn % len(self._ways)]
        self._ways[way]()
        self.takings[way] += 1
        self._touch(turn + 1)

    # ---- how pages are taken away

    def _take_by_one(self) -> None:
        """By one thread, all pages of a vCPU together: a notifier for each vCPU."""
        for share in range(self._vcpus):
            self._guest.take_back(self._canonical(share), self._pages * PAGE_BYTES)

    def _take_by_all(self) -> None:
        """By all threads at once: a notifier for each page."""

        def take(share: int) -> None:
            first = self._canonical(share)
            for page in range(self._pages):
                self._guest.take_back(first + page * PAGE_BYTES)

        self._crew.at_once(take)

    def _tlbi_page(self) -> None:
        """L1 invalidates some pages, one by one, on all vCPUs at once. The host keeps them."""

        def invalidate(vcpu: int) -> None:
            first = self._nested(vcpu)
            for page in range(min(self._pages, _TLBI_PAGES)):
                self._guest.tlbi_page(first + page * PAGE_BYTES, vcpu=vcpu)

        self._crew.at_once(invalidate)

    def _tlbi_context(self) -> None:
        """L1 invalidates all of the context, on one vCPU. The host keeps the pages."""
        self._guest.tlbi_context(vcpu=self._vcpus - 1)

    # ---- how they come back

    def _touch(self, turn: int) -> None:
        """L2 and L1 touch all pages, those of each vCPU on another one than the turn before."""
        self._guest.l2_read(NESTED_IPA)  # code and anchor
        before = replace(self._guest.ledger.counts)
        self._crew.at_once(lambda vcpu: self._touch_share(vcpu, (vcpu + turn) % self._vcpus, turn))
        if not refaults_are_certain(before, self._guest.ledger.counts):
            raise RuntimeError(f"turn {turn}: refaults depend on which vCPU comes first")
        self._crew.at_once(lambda vcpu: self._check_all(vcpu, turn))

    def _touch_share(self, vcpu: int, share: int, turn: int) -> None:
        """On every other pair of vCPUs L2 writes and L1 then reads; on the others the reverse."""
        guest, pages, value = self._guest, self._pages, self._value(share, turn)
        nested, canonical = self._nested(share), self._canonical(share)
        if vcpu // 2 % 2 == 0:
            guest.l2_write(nested, value, pages, vcpu=vcpu)
            found = guest.l1_read(canonical, pages, vcpu=vcpu)
        else:
            guest.l1_write(canonical, value, pages, vcpu=vcpu)
            found = guest.l2_read(nested, pages, vcpu=vcpu)
        expect(f"sum of the pages of vCPU {vcpu}", found.sum, _sum(value, pages))

    def _check_all(self, vcpu: int, turn: int) -> None:
        """L2 reads what all have written: the pages are mapped already."""
        found = self._guest.l2_read(self._nested(0), self._all_pages, vcpu=vcpu)
        expect(
            f"sum of all pages, by vCPU {vcpu}",
            found.sum,
            _sum(self._value(0, turn), self._all_pages),
        )

    def _value(self, share: int, turn: int) -> int:
        return (turn + 1) << 32 | share * self._pages

    def _nested(self, share: int) -> int:
        return NESTED_IPA + (_FIRST_PAGE + share * self._pages) * PAGE_BYTES

    def _canonical(self, share: int) -> int:
        return DATA_IPA + (_FIRST_PAGE + share * self._pages) * PAGE_BYTES


def refaults_are_certain(before: Counts, after: Counts) -> bool:
    """Whether faults in between that race make as many refaults as they do one after the other.

    If none is a refault, nothing was owed; if all are, that was enough for all of them. Else some
    vCPUs may find the last one that is owed at the same time.

    >>> refaults_are_certain(Counts(), Counts(shadow_faults=3, refaults=3))
    True
    >>> refaults_are_certain(Counts(), Counts(shadow_faults=3, refaults=2))
    False
    """
    faults = after.shadow_faults - before.shadow_faults
    return after.refaults - before.refaults in (0, faults)


def _sum(first: int, count: int) -> int:
    """first + (first + 1) + ..., modulo 2**64, as L1 adds them up."""
    return sum(range(first, first + count)) % (1 << 64)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--vcpus", type=click.IntRange(1, MOST_VCPUS), default=8, show_default=True)
@click.option("--rounds", type=click.IntRange(0), default=8, show_default=True)
@click.option("--pages", type=click.IntRange(1), default=8, show_default=True, help="Of each vCPU.")
@click.option(
    "--together",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="For so many rounds all vCPUs are on one CPU, and on all CPUs after that.",
)
def main(vcpus: int, rounds: int, pages: int, together: int, **request: Any) -> None:
    """Play some ROUNDS, in which all vCPUs fault at once, and print what these must have caused."""
    if vcpus * pages > MOST_PAGES:
        raise click.BadParameter(
            f"{vcpus} vCPUs with {pages} pages each are more than {MOST_PAGES} pages",
            param_hint="--pages",
        )
    cpus = sorted(os.sched_getaffinity(0))

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        done = 0
        with Crew(vcpus) as crew:
            crew.settle(cpus[:1] if together else cpus)
            party = Party(guest, crew, pages)
            while done < rounds and not stop.asked:
                if done == together:
                    crew.settle(cpus)
                party.play(done)
                done += 1
        return {
            "vcpus": vcpus,
            "pages": pages,
            "rounds": done,
            "takings": dict(party.takings),
            "threads": [os.getpid(), *crew.threads],
            "cpus": cpus[:vcpus] if done > together else cpus[:1],
            "at_once": crew.most_at_once,
        }

    run(Request(**request), BLOCK_BYTES, play, vcpus=vcpus)


if __name__ == "__main__":
    main()
