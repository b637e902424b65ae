"""A guest that is all on paper: what the ledger's tests tell their stories with."""

from __future__ import annotations

from nvscope.lab.workloads.ledger.counts import Counts
from nvscope.lab.workloads.ledger.ledger import Context, Ledger, untranslated
from nvscope.lab.workloads.vmm.stage2 import SMALL, Translation

PAGE_BYTES, BLOCK_BYTES = SMALL.page_bytes, SMALL.block_bytes
RAM = 0x4000_0000
DATA = RAM + BLOCK_BYTES
CODE = 0xF_FFFF_F000
NESTED = 0x8000_0000
NESTED_BLOCK = 0xC000_0000  # of the nested block, for those that map all of the data by one

MAPPED = {
    "canonical_faults": "canonical_mapped",
    "shadow_faults": "shadow_mapped",
    "refaults": "refaults_mapped",
}


class Guest:
    """L1's stage 2 as a dictionary, and a ledger that has seen L1 boot."""

    def __init__(self, *, revmap: str = "none", huge: bool = False) -> None:
        self.ledger = Ledger(revmap=revmap)
        self.ledger.populate(RAM, 2 * BLOCK_BYTES)
        if huge:
            self.ledger.populate_huge(DATA, BLOCK_BYTES)
        self.ledger.l1_access(RAM)
        self.pages: dict[int, Translation] = {CODE: Translation(RAM, 3, False, True)}

    def map(self, page: int, to: int, *, level: int = 3, writable: bool = True) -> None:
        translation = Translation(DATA + to * PAGE_BYTES, level, writable, False)
        self.pages[NESTED + page * PAGE_BYTES] = translation

    def map_block(self) -> None:
        """L1 maps all of the data by a block at NESTED_BLOCK."""
        for offset in range(0, BLOCK_BYTES, PAGE_BYTES):
            self.pages[NESTED_BLOCK + offset] = Translation(DATA + offset, 2, True, False)

    def run(self, *pages: int, write: bool = True, vmid: int = 1, base: int = NESTED) -> int:
        context = Context(vmid << 48 | RAM, self.pages.get, CODE)
        addresses = [base + page * PAGE_BYTES for page in pages]
        return self.ledger.l2_run(context, addresses, write=write)

    def run_el1(self, *pages: int, write: bool = True, vttbr: int = 1 << 48 | RAM) -> int:
        """L1's own EL1, with L1's stage 2 off."""
        context = Context(vttbr, untranslated, RAM, stage2_on=False)
        return self.ledger.l2_run(context, [canonical(page) for page in pages], write=write)

    def take_back(self, page: int, pages: int = 1) -> None:
        self.ledger.take_back(canonical(page), pages * PAGE_BYTES)

    def counted(self, **expected: int) -> None:
        """Besides L1's boot, and with no fault retried unless a *_mapped count says so."""
        stated = {"canonical_faults": 1, **expected}
        for name, mapped in MAPPED.items():
            stated.setdefault(mapped, stated.get(name, 0))
        assert self.ledger.counts == Counts(**stated)


def nested(page: int) -> int:
    return NESTED + page * PAGE_BYTES


def canonical(page: int) -> int:
    return DATA + page * PAGE_BYTES


def mapped(pages: int, *, revmap: str = "none") -> Guest:
    guest = Guest(revmap=revmap)
    for page in range(pages):
        guest.map(page, page)
    return guest
