"""The standard script: a nested guest from which the host takes back pages a known number of times.

Run as `python3 -m nvscope.lab.workloads.main -name vmA --unmaps 23`. The name on the command line
is how the exporter finds the VM's name, as it does for QEMU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
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

_MAX_PAGES = 1 << 16


class _Script:
    """Pages, what L2 has written to each, and a check of every one of them."""

    def __init__(self, guest: NestedGuest, pages: int) -> None:
        self._guest = guest
        self._values = list(range(1, pages + 1))
        guest.map(NESTED_IPA, DATA_IPA, pages * PAGE_BYTES)
        guest.l2_write(NESTED_IPA, 1, pages)

    def unmap_one(self, turn: int) -> None:
        """Take back one page; L2 writes it anew. A mapping that survived would keep the value."""
        page = turn % len(self._values)
        canonical_ipa = DATA_IPA + page * PAGE_BYTES
        nested_ipa = NESTED_IPA + page * PAGE_BYTES
        self._values[page] = value = (turn + 1) << 32 | page
        self._guest.take_back(canonical_ipa)
        self._guest.l2_write(nested_ipa, value)
        found = self._guest.host_read(canonical_ipa)
        expect(f"data at canonical {canonical_ipa:#x}", found, value)
        found = self._guest.l2_read(nested_ipa).value
        expect(f"data at nested {nested_ipa:#x}", found, value)

    def check_all(self) -> None:
        """L2 reads every page in one run."""
        total = self._guest.l2_read(NESTED_IPA, len(self._values)).sum
        expect("sum of all pages", total, sum(self._values) % (1 << 64))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--unmaps", type=click.IntRange(0), default=23, show_default=True)
@click.option("--forever", is_flag=True, help="Go on until SIGTERM or SIGINT.")
@click.option("--pages", type=click.IntRange(1, _MAX_PAGES), default=8, show_default=True)
@click.option(
    "--pace", type=Finite(0, ENDLESS_SECONDS), default=0.0, help="Seconds between unmaps."
)
@click.option(
    "--seconds",
    type=Finite(0, ENDLESS_SECONDS),
    default=ENDLESS_SECONDS,
    help="No more unmaps after that.",
)
def main(
    unmaps: int, forever: bool, pages: int, pace: float, seconds: float, **request: Any
) -> None:
    """Run a nested guest, take back its pages, and print what that must have caused, as JSON.

    A VM that was held has L2 read all its pages once more at its end: they must be as they were.
    """
    scripts: list[_Script] = []

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        scripts.append(_Script(guest, pages))
        end = time.monotonic() + seconds
        turns = takewhile(
            lambda _: time.monotonic() < end, _turns(None if forever else unmaps, pace, stop)
        )
        first_write_ns = guest.l2_write_ns[0] / pages
        done = _unmap(scripts[0], turns)
        return {"pages": pages, "unmaps": done, "first_write_ns": first_write_ns}

    def check() -> None:
        scripts[0].check_all()

    run(Request(**request), pages * PAGE_BYTES, play, afterwards=check)


def _unmap(script: _Script, turns: Iterator[int]) -> int:
    """Play the script; how many unmaps it did."""
    done = 0
    for turn in turns:
        script.unmap_one(turn)
        done += 1
    script.check_all()
    return done


def _turns(unmaps: int | None, pace: float, stop: Stop) -> Iterator[int]:
    """0, 1, ... up to unmaps (None: without end), pace seconds apart, until stop is asked."""
    for turn in count() if unmaps is None else range(unmaps):
        if turn and pace:
            time.sleep(pace)
        if stop.asked:
            return
        yield turn


if __name__ == "__main__":
    main()
