"""What must hold whatever reverse map a kernel has: those that we know are within the bounds."""

from __future__ import annotations

import random

import pytest

from nvscope.lab.workloads.ledger.ledger import Context, Ledger
from nvscope.lab.workloads.ledger.unknown import BETWEEN, EXACT, UnknownLedger
from nvscope.lab.workloads.vmm.stage2 import Translation
from tests.unit.lab.workloads.ledger.guest import (
    BLOCK_BYTES,
    CODE,
    DATA,
    NESTED,
    PAGE_BYTES,
    RAM,
    canonical,
)

PAGES = 12
Told = Ledger | UnknownLedger


def guest(ledger: Told) -> Told:
    ledger.populate(RAM, 2 * BLOCK_BYTES)
    ledger.l1_access(RAM)
    return ledger


def story(ledger: Told, seed: int, operations: int = 120) -> None:
    """What a guest may do, at random: two contexts, aliases, TLBIs, what host and L1 do."""
    chance = random.Random(seed)
    mapped: list[dict[int, Translation]] = [{CODE: Translation(RAM, 3, False, True)} for _ in "ab"]

    def remap(pages: dict[int, Translation], vmid: int) -> None:
        nested = NESTED + chance.randrange(PAGES) * PAGE_BYTES
        if pages.pop(nested, None):
            ledger.tlbi_ipa(vmid, nested)  # break before make
        to = canonical(chance.randrange(PAGES))
        pages[nested] = Translation(to, 3, True, False)

    for _ in range(operations):
        vmid = chance.choice([1, 2])
        pages = mapped[vmid - 1]
        page = chance.randrange(PAGES)
        match chance.choice("lllllmmmthHwWrv"):
            case "l":
                context = Context(vmid << 48 | RAM, pages.get, CODE)
                nested = [NESTED + n * PAGE_BYTES for n in range(page, min(page + 3, PAGES))]
                ledger.l2_run(context, nested, write=chance.random() < 0.6)
            case "m":
                remap(pages, vmid)
            case "t":
                ledger.take_back(canonical(page), PAGE_BYTES * min(2, PAGES - page))
            case "h":
                ledger.host_read(canonical(page))
            case "H":
                ledger.host_write(canonical(page))
            case "w" | "W":
                ledger.l1_access(canonical(page), write=True)
            case "r":
                ledger.tlbi_vmid(vmid)
            case "v":
                ledger.tlbi_all()


@pytest.mark.parametrize("revmap", ["none", "maple", "tracking"])
def test_each_kind_of_kernel_is_within_the_bounds(revmap: str) -> None:
    for seed in range(200):
        unknown, known = UnknownLedger(), Ledger(revmap=revmap)
        for ledger in (unknown, known):
            story(guest(ledger), seed)
        counts = known.counts.as_dict()
        assert unknown.exact() == {name: counts[name] for name in EXACT}, seed
        for name, (least, most) in unknown.bounds().items():
            assert least <= counts[name] <= most, (seed, name)


def test_a_write_that_l1_forbids_is_refused() -> None:
    """Whether it is one notifier more depends on the reverse map."""
    ledger = UnknownLedger()
    guest(ledger)
    read_only = {CODE: Translation(RAM, 3, False, True), NESTED: Translation(DATA, 3, False, False)}
    with pytest.raises(ValueError, match="read-only"):
        ledger.l2_run(Context(1 << 48 | RAM, read_only.get, CODE), [NESTED], write=True)


def test_bounds_are_apart_where_the_reverse_map_decides() -> None:
    ledger = UnknownLedger()
    guest(ledger)
    pages = {CODE: Translation(RAM, 3, False, True)}
    for page in range(4):
        pages[NESTED + page * PAGE_BYTES] = Translation(canonical(page), 3, True, False)
    context = Context(1 << 48 | RAM, pages.get, CODE)
    addresses = [NESTED + page * PAGE_BYTES for page in range(4)]
    ledger.l2_run(context, addresses, write=True)
    ledger.take_back(canonical(1), PAGE_BYTES)
    ledger.l2_run(context, addresses, write=True)
    assert ledger.bounds() == {
        "shadow_faults": (6, 10),  # of 5, the code among them: one page comes back, or all
        "shadow_mapped": (6, 10),
        "full_unmaps_in_notifier": (0, 1),
    }
    assert set(ledger.bounds()) == set(BETWEEN)
