"""vCPUs that fault at once: what they must cause, in whichever order they come."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from nvscope.lab.workloads import parallel
from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.ledger.ledger import Context, Ledger
from nvscope.lab.workloads.parallel import MOST_PAGES, Party
from nvscope.lab.workloads.synthetic.crew import Crew, most_at_once
from nvscope.lab.workloads.vmm.kvm import KvmError
from nvscope.lab.workloads.vmm.mailbox import Accessed
from nvscope.lab.workloads.vmm.stage2 import HOST, Translation
from tests.unit.lab.workloads.ledger.guest import MAPPED

PAGE_BYTES, BLOCK_BYTES = HOST.page_bytes, HOST.block_bytes
RAM = 0x4000_0000
CODE = 0xF_FFFF_0000
VMID = 1
VCPUS, PAGES = 4, 6
ALL = VCPUS * PAGES


class OnPaper:
    """What a Party asks of a NestedGuest, without a guest."""

    def __init__(self, *, revmap: str = "none") -> None:
        self.ledger = Ledger(revmap=revmap, granule=HOST)
        for _ in range(VCPUS - 1):
            self.ledger.add_vcpu()
        self.ledger.populate(RAM, 2 * BLOCK_BYTES)
        self.ledger.l1_access(RAM)
        self._words: dict[int, int] = {}  # by canonical page
        self._pages = {CODE: Translation(RAM, 3, False, True)}
        self._lock = threading.Lock()

    def map(self, nested: int, canonical: int, size: int) -> None:
        for offset in range(0, size, PAGE_BYTES):
            self._pages[nested + offset] = Translation(canonical + offset, 3, True, False)

    def l1_read(self, ipa: int, count: int = 1, *, vcpu: int = 0) -> Accessed:
        return self._l1(ipa, count, None)

    def l1_write(self, ipa: int, value: int, count: int, *, vcpu: int) -> Accessed:
        return self._l1(ipa, count, value)

    def l2_read(self, ipa: int, count: int = 1, *, vcpu: int = 0) -> Accessed:
        return self._l2(ipa, count, None)

    def l2_write(self, ipa: int, value: int, count: int, *, vcpu: int) -> Accessed:
        return self._l2(ipa, count, value)

    def take_back(self, ipa: int, size: int = PAGE_BYTES) -> None:
        with self._lock:
            self.ledger.take_back(ipa, size)
            for page in range(ipa, ipa + size, PAGE_BYTES):
                self._words.pop(page, None)

    def tlbi_page(self, ipa: int, *, vcpu: int) -> None:
        with self._lock:
            self.ledger.tlbi_ipa(VMID, ipa)

    def tlbi_context(self, *, vcpu: int) -> None:
        with self._lock:
            self.ledger.tlbi_vmid(VMID)

    def _l1(self, ipa: int, count: int, value: int | None) -> Accessed:
        pages = range(ipa, ipa + count * PAGE_BYTES, PAGE_BYTES)
        with self._lock:
            for page in pages:
                self.ledger.l1_access(page, write=value is not None)
            return self._accessed(list(pages), value)

    def _l2(self, ipa: int, count: int, value: int | None) -> Accessed:
        nested = range(ipa, ipa + count * PAGE_BYTES, PAGE_BYTES)
        context = Context(VMID << 48 | RAM, self._pages.get, CODE)
        with self._lock:
            assert self.ledger.l2_run(context, nested, write=value is not None) == count
            return self._accessed([self._pages[page].canonical_ipa for page in nested], value)

    def _accessed(self, pages: list[int], value: int | None) -> Accessed:
        if value is not None:
            self._words |= {page: value + number for number, page in enumerate(pages)}
        words = [self._words.get(page, 0) for page in pages]
        return Accessed(words[-1], sum(words) % (1 << 64))


class InOrder:
    """A crew of one thread, which does the parts in an order that a seed chooses."""

    def __init__(self, seed: int) -> None:
        self.threads = range(VCPUS)
        self._random = random.Random(seed)

    def at_once(self, part: Callable[[int], object]) -> None:
        for number in self._random.sample(self.threads, VCPUS):
            part(number)


def played(turns: int, crew: Any, *, revmap: str) -> Counts:
    guest: Any = OnPaper(revmap=revmap)
    party = Party(guest, crew, PAGES)
    for turn in range(turns):
        party.play(turn)
    return guest.ledger.counts


def counts(**expected: int) -> Counts:
    """No fault is retried, so each maps."""
    mapped = {MAPPED[name]: count for name, count in expected.items() if name in MAPPED}
    return Counts(**expected, **mapped)


TLBI = VCPUS * 4  # pages that are invalidated one by one


@pytest.mark.parametrize(
    ("turns", "more"),
    [
        # By one thread: a notifier for each vCPU. Each page comes back, in both stage 2s.
        (1, {"notifier_unmaps": VCPUS, "canonical_faults": ALL, "shadow_faults": ALL}),
        # By all threads: a notifier for each page.
        (2, {"notifier_unmaps": ALL, "canonical_faults": ALL, "shadow_faults": ALL}),
        (3, {"ranged_unmaps_in_tlbi": TLBI, "shadow_faults": TLBI}),
        (4, {"full_unmaps_in_tlbi": 1, "shadow_faults": 2 + ALL}),
    ],
)
@pytest.mark.parametrize("revmap", ["none", "maple", "tracking"])
def test_what_each_turn_causes(turns: int, more: dict[str, int], revmap: str) -> None:
    before = played(turns - 1, InOrder(1), revmap=revmap).as_dict()
    after = played(turns, InOrder(1), revmap=revmap).as_dict()
    by_notifiers = turns <= 2
    expected = {"shadow_faults": 0, **more}
    ranged = expected.get("ranged_unmaps_in_tlbi", 0)
    if by_notifiers and revmap != "none":
        ranged = expected["ranged_unmaps_in_notifier"] = ALL
    elif by_notifiers:
        expected["full_unmaps_in_notifier"] = expected["notifier_unmaps"]
        expected["shadow_faults"] += 2  # code and anchor went, too
    if by_notifiers:
        expected["refaults"] = expected["shadow_faults"]
    if revmap != "none":
        # In a maple tree, a TLBI by page leaves the entries, which then are found again.
        found = turns == 3 and revmap == "maple"
        outcome = "records_unchanged" if found else "records_stored"
        expected[outcome] = expected["shadow_faults"]
    expected["ranged_bytes"] = ranged * PAGE_BYTES
    difference = {name: count - before[name] for name, count in after.items()}
    assert difference == counts(**expected).as_dict()


@pytest.mark.parametrize("revmap", ["none", "maple", "tracking"])
def test_what_the_first_touch_causes(revmap: str) -> None:
    """L1: its code, the anchor and all pages; L2: the same."""
    records = {"records_stored": 2 + ALL} if revmap != "none" else {}
    expected = counts(canonical_faults=2 + ALL, shadow_faults=2 + ALL, **records)
    assert played(0, InOrder(1), revmap=revmap) == expected


@pytest.mark.parametrize("revmap", ["none", "maple", "tracking"])
def test_the_order_of_the_vcpus_makes_no_difference(revmap: str) -> None:
    first, *others = (played(9, InOrder(seed), revmap=revmap) for seed in range(20))
    assert others == [first] * 19
    with Crew(VCPUS) as crew:
        assert played(9, crew, revmap=revmap) == first


def test_ways_are_taken_in_turns() -> None:
    guest: Any = OnPaper()
    party = Party(guest, InOrder(1), PAGES)  # type: ignore[arg-type]
    for turn in range(6):
        party.play(turn)
    assert party.takings == {"by_one": 2, "by_all": 2, "tlbi_page": 1, "tlbi_context": 1}


def test_refaults_that_depend_on_the_order_are_refused() -> None:
    """Two pages are owed, and more faults come: two vCPUs could both take the last one."""
    guest: Any = OnPaper(revmap="maple")
    party = Party(guest, InOrder(1), PAGES)  # type: ignore[arg-type]

    def take_two_and_invalidate_more() -> None:
        guest.take_back(party._canonical(0), 2 * PAGE_BYTES)
        party._tlbi_page()

    party._ways = {"odd": take_two_and_invalidate_more}
    with pytest.raises(RuntimeError, match="depend on which vCPU comes first"):
        party.play(0)


def test_a_mapping_that_outlives_its_page_is_found() -> None:
    guest: Any = OnPaper()
    party = Party(guest, InOrder(1), PAGES)  # type: ignore[arg-type]
    guest.l2_read = lambda *_, **__: Accessed(0, 7)
    with pytest.raises(KvmError, match="sum of the pages of vCPU"):
        party.play(0)


# ---- the crew


def test_parts_are_done_at_once_each_by_its_thread() -> None:
    done: list[set[int]] = []
    with Crew(3) as crew:
        meeting = threading.Barrier(3, timeout=30)
        for _ in range(5):
            found: dict[int, int] = {}

            def part(number: int, found: dict[int, int] = found) -> None:
                meeting.wait()  # nobody gets on alone
                found[number] = threading.get_native_id()
                meeting.wait()

            crew.at_once(part)
            assert [found[number] for number in range(3)] == crew.threads
            done.append(set(found.values()))
        assert crew.most_at_once == 3
    assert len(done[0]) == 3 and done == done[:1] * 5


def test_threads_stay_where_they_are_put() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with Crew(3) as crew:
        for places in (cpus, cpus[-1:]):
            crew.settle(places)
            found: dict[int, set[int]] = {}
            crew.at_once(
                lambda number, found=found: found.update({number: os.sched_getaffinity(0)})
            )
            assert found == {number: {places[number % len(places)]} for number in range(3)}
    assert sorted(os.sched_getaffinity(0)) == cpus


def test_an_error_comes_out_when_all_have_ended() -> None:
    ended: list[int] = []

    def part(number: int) -> None:
        if number == 0:
            raise KvmError("vCPU 0 is lost")
        ended.append(number)

    with Crew(3) as crew:
        with pytest.raises(KvmError, match="vCPU 0 is lost"):
            crew.at_once(part)
        assert sorted(ended) == [1, 2]
        crew.at_once(ended.append)  # and goes on
    assert sorted(ended) == [0, 1, 1, 2, 2]


def test_what_ends_when_another_begins_is_not_at_once() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 2), (2, 4), (4, 4)]) == 1
    assert most_at_once([(0, 9), (1, 2), (3, 4), (3, 9)]) == 3


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vcpus", "8", "--pages", str(MOST_PAGES // 8 + 1)], f"more than {MOST_PAGES} pages"),
        (["--vcpus", "65"], "is not in the range"),
        (["--rounds", "-1"], "is not in the range"),
    ],
)
def test_what_cannot_be_exact_is_refused(options: list[str], said: str) -> None:
    done = CliRunner().invoke(parallel.main, ["-name", "a", *options])
    assert done.exit_code == 2
    assert said in done.output
