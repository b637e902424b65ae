"""Lets one of the lab kernels' mistakes on demand show: see `bugs`.

Run as `python3 -m nvscope.lab.workloads.bug lost-record -name vmA`, while a trace is recorded. The
mistake is made in all VMs of the host until this ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import click

from nvscope.lab.workloads.cases.bugs import BUGS, made
from nvscope.lab.workloads.cases.inject import injection
from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES
from nvscope.lab.workloads.synthetic.script import Request, Stop, request_options, run
from nvscope.lab.workloads.vmm.tables import shadow_tables


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bug", type=click.Choice(list(BUGS)))
@request_options
def main(bug: str, **request: Any) -> None:
    """Make the kernel's reverse map do something wrong: BUG. Prints what was done, as JSON."""
    chosen = BUGS[bug]

    def play(guest: NestedGuest, _stop: Stop) -> Mapping[str, Any]:
        with (
            made(chosen),
            injection() if chosen.injects else contextlib.nullcontext() as injected,
        ):
            chosen.play(Player(guest, injected))
        return {"bug": bug, "breaks": chosen.breaks, "tables": shadow_tables()}

    run(Request(**request), BLOCK_BYTES, play, huge=chosen.huge)


if __name__ == "__main__":
    main()
