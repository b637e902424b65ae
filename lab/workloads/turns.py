"""Notifier unmaps and unmaps by TLBI in turns, from one task: none may be told as the other.

Run as `python3 -m nvscope.lab.workloads.turns -name vmA --rounds 30`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES
from nvscope.lab.workloads.synthetic.script import Request, Stop, request_options, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True)
def main(rounds: int, **request: Any) -> None:
    """Play some ROUNDS on a nested guest, and print what these must have caused, as JSON."""

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        player, done = Player(guest, None), 0
        player.map(0, 0)
        while done < rounds and not stop.asked:
            player.write(0)
            player.take_back(0)
            player.write(0)
            guest.tlbi_context()
            done += 1
        return {"rounds": done}

    run(Request(**request), BLOCK_BYTES, play)


if __name__ == "__main__":
    main()
