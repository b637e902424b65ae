"""What unmaps and faults cost, sample by sample: the orders that are given, on paper."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nvscope.lab.workloads import price
from nvscope.lab.workloads.synthetic.layout import PAGE_BYTES
from nvscope.lab.workloads.vmm.kvm import KvmError


class OnPaper:
    """Guest memory as a dictionary; each order takes as many ns as it touches pages.

    deaf: what L2 writes does not reach the host, as through a mapping that survived.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self.take_back_ns: list[int] = []
        self.l2_write_ns: list[int] = []
        self._deaf = deaf
        self._to: dict[int, int] = {}
        self._words: dict[int, int] = {}

    def map(self, nested: int, canonical: int, size: int) -> None:
        for offset in range(0, size, PAGE_BYTES):
            assert nested + offset not in self._to
            self._to[nested + offset] = canonical + offset

    def l2_write(self, nested: int, value: int, count: int) -> None:
        self.l2_write_ns.append(1000 * count)
        for index in range(count):
            canonical = self._to[nested + index * PAGE_BYTES]
            if not (self._deaf and self.take_back_ns):
                self._words[canonical] = value + index

    def take_back(self, canonical: int) -> None:
        self.take_back_ns.append(7)
        self._words[canonical] = 0

    def host_read(self, canonical: int) -> int:
        return self._words[canonical]


def play(guest: Any, unmaps: int) -> tuple[list[float], list[int]]:
    faults = price._faults(guest)
    stop: Any = SimpleNamespace(asked=False)
    return faults, price._take_back(guest, unmaps, stop)


def test_there_is_a_sample_of_each_time() -> None:
    guest = OnPaper()
    faults, recover = play(guest, price.PAGES + 3)  # each page, and some of them again
    assert faults == [1000.0] * price.FAULT_SAMPLES
    assert recover == [1000 * price.PAGES] * (price.PAGES + 3)
    assert len(guest.take_back_ns) == price.PAGES + 3


def test_a_page_that_survived_is_noticed() -> None:
    with pytest.raises(KvmError, match="wrong data of page"):
        play(OnPaper(deaf=True), 4)
