"""A nested guest whose hypervisor invalidates all while the host takes pages back, at once.

Full unmaps let go of mmu_lock between their steps: a notifier unmap that comes in between finds
the reverse map emptied and mappings still there. Run as
`python3 -m nvscope.lab.workloads.race -name vmA --seconds 5`. What happens in which order is
chance, so there are no expected counts. At the end no mapping may have survived: L2 and the host
must see the same memory.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import (
    ENDLESS_SECONDS,
    NESTED_IPA,
    Request,
    Stop,
    expect,
    request_options,
    run,
)
from nvscope.probes.commands.finite import Finite

PAGES = 32


class _Taker(threading.Thread):
    """Takes random pages back until it is stopped. KVM_RUN goes on meanwhile: it holds no lock."""

    def __init__(self, guest: NestedGuest, seed: int) -> None:
        super().__init__(daemon=True)
        self.taken = 0
        self._guest = guest
        self._random = random.Random(seed)
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.wait(0.001):
            page = self._random.randrange(PAGES)
            self._guest.take_back_unheard(DATA_IPA + page * PAGE_BYTES)
            self.taken += 1

    def end(self) -> None:
        self._stop.set()
        self.join()


def _invalidate(guest: NestedGuest, seed: int, seconds: float, stop: Stop) -> Counter[str]:
    """L2 writes and L1 invalidates, for so long; how often each."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not stop.asked:
        guest.l2_write(NESTED_IPA + chance.randrange(PAGES) * PAGE_BYTES, chance.getrandbits(60))
        done["write"] += 1
        if chance.random() < 0.2:
            name = chance.choice(["tlbi_all", "tlbi_context"])
            getattr(guest, name)()
            done[name] += 1
    return done


def _check(guest: NestedGuest) -> None:
    """What L2 writes the host must see, page by page; what the host takes, L2 must lose."""
    guest.l2_write(NESTED_IPA, 1, PAGES)
    for page in range(PAGES):
        expect(f"page {page} as the host sees it", guest.host_read(_canonical(page)), page + 1)
    guest.take_back(_canonical(0), PAGES * PAGE_BYTES)
    expect("sum of all pages after they were taken", guest.l2_read(NESTED_IPA, PAGES).sum, 0)


def _canonical(page: int) -> int:
    return DATA_IPA + page * PAGE_BYTES


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--seconds", type=Finite(0, ENDLESS_SECONDS), default=5.0, show_default=True)
def main(seed: int, seconds: float, **request: Any) -> None:
    """Invalidate and take back at once, check what is left, and print as JSON what was done."""

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        guest.map(NESTED_IPA, DATA_IPA, PAGES * PAGE_BYTES)
        taker = _Taker(guest, seed)
        taker.start()
        try:
            done = _invalidate(guest, seed, seconds, stop)
        finally:
            taker.end()
        _check(guest)
        return {"seed": seed, "done": dict(done), "taken": taker.taken}

    run(Request(**request), PAGES * PAGE_BYTES, play)


if __name__ == "__main__":
    main()
