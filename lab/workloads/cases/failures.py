"""A nested guest whose reverse map loses every tenth store: slower, and nothing worse."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.synthetic.layout import DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA, Stop, expect

PAGES = 48
ALIASES = 4  # nested pages past the others, for the first canonical pages once more
MEAN_GAP = 10  # stores from one failure to the next


class _Run:
    """The operations, and what each canonical page must hold."""

    def __init__(self, player: Player, seed: int) -> None:
        self._player = player
        self._random = random.Random(seed)
        self._words = dict.fromkeys(range(PAGES), 0)
        for page in range(PAGES + ALIASES):
            player.map(page, page % PAGES)

    def step(self) -> None:
        """Do one operation; beforehand see to it that some later store fails."""
        if not self._player.guest.ledger.stores.fail_in:
            self._player.fail_in(1 + int(self._random.expovariate(1 / (MEAN_GAP - 1))))
        kind = self._random.random()
        # A broken map records nothing until a notifier unmap: let that come soon.
        broken = self._player.guest.ledger.counts.broken_mmus > 0
        if kind < (0.3 if broken else 0.75):
            self._write()
        elif kind < 0.95:
            self._take_back()
        else:
            page = self._random.randrange(PAGES)
            self._player.guest.tlbi_page(NESTED_IPA + page * PAGE_BYTES)

    def check_all(self) -> None:
        """L2 reads every page in one run."""
        total = self._player.guest.l2_read(NESTED_IPA, PAGES).sum
        expect("sum of all pages", total, sum(self._words.values()) % (1 << 64))

    def _write(self) -> None:
        first, count = self._random.randrange(PAGES - 8), self._random.randrange(1, 9)
        if self._random.random() < 0.05:
            first, count = PAGES, ALIASES
        word = self._random.getrandbits(60)
        self._player.guest.l2_write(NESTED_IPA + first * PAGE_BYTES, word, count)
        for index in range(count):
            self._words[(first + index) % PAGES] = word + index

    def _take_back(self) -> None:
        first, count = self._random.randrange(PAGES - 4), self._random.randrange(1, 5)
        self._player.guest.take_back(DATA_IPA + first * PAGE_BYTES, count * PAGE_BYTES)
        for page in range(first, first + count):
            self._words[page] = 0


def play(player: Player, seed: int, records: int, stop: Stop) -> Mapping[str, Any]:
    """Go on until so many records were tried (the skipped ones not among them)."""
    run = _Run(player, seed)
    counts = player.guest.ledger.counts
    steps = 0
    while _tried(player) < records and not stop.asked:
        run.step()
        steps += 1
        # Without a reverse map nothing is recorded.
        if player.guest.revmap == "none" and steps * 2 >= records:
            break
        if steps % 16 == 0:
            run.check_all()
    run.check_all()
    return {"seed": seed, "steps": steps, "tried": _tried(player), "failed": counts.records_failed}


def _tried(player: Player) -> int:
    counts = player.guest.ledger.counts
    done = counts.records_stored + counts.records_unchanged + counts.records_overlapped
    return done + counts.records_failed
