"""A guest, and short words for what the cases do with it."""

from __future__ import annotations

from nvscope.lab.workloads.cases.inject import Injection
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA, expect

BLOCK_IPA = 0x4000_0000  # a second nested place for the same canonical memory


class Player:
    """A guest, and short words for what the cases do with it. Every word written is checked."""

    def __init__(self, guest: NestedGuest, injection: Injection | None) -> None:
        self.guest = guest
        self._injection = injection
        self._next = 1

    def map(self, nested: int, canonical: int, context: int = 0, *, writable: bool = True) -> None:
        """L1 maps one page; both by number."""
        ipas = NESTED_IPA + nested * PAGE_BYTES, DATA_IPA + canonical * PAGE_BYTES
        self.guest.map(*ipas, PAGE_BYTES, context, writable=writable)

    def write(self, *nested: int, base: int = NESTED_IPA) -> None:
        """L2 writes pages, and reads back what it wrote; so does the host.

        Through a mapping that outlived a take-back L2 would reach a page that is no longer the
        host's.
        """
        for page in nested:
            nested_ipa, word = base + page * PAGE_BYTES, self._next
            self._next += 1
            self.guest.l2_write(nested_ipa, word)
            expect(f"data at {nested_ipa:#x}", self.guest.l2_read(nested_ipa).value, word)
            found = self.guest.host_read(self.guest.canonical_ipa(nested_ipa))
            expect(f"data behind {nested_ipa:#x}", found, word)

    def write_el1(self, *canonical: int) -> None:
        """L1's own EL1 writes pages, with L1's stage 2 off, and reads back what it wrote."""
        for page in canonical:
            canonical_ipa, word = DATA_IPA + page * PAGE_BYTES, self._next
            self._next += 1
            self.guest.el1_write(canonical_ipa, word)
            expect(f"data at {canonical_ipa:#x}", self.guest.el1_read(canonical_ipa).value, word)
            found = self.guest.host_read(canonical_ipa)
            expect(f"data of the host at {canonical_ipa:#x}", found, word)

    def take_back(self, canonical: int, pages: int = 1) -> None:
        """The host takes pages: what is read there next is 0."""
        self.guest.take_back(DATA_IPA + canonical * PAGE_BYTES, pages * PAGE_BYTES)

    def fail_in(self, stores: int) -> None:
        """Let that store into a reverse map fail. Without one there is none to fail."""
        assert self._injection
        self._injection.fail_in(stores)
        self.guest.ledger.stores.fail_in = stores
