"""Runs one of the cases of `cases`, or a thousand records of which a tenth fail.

Run as `python3 -m nvscope.lab.workloads.case pollution -name vmA`. It ends with an error where
what the ledger followed is not what was stated beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import click

from nvscope.lab.workloads.cases import failures
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.lab.workloads.cases.inject import injection
from nvscope.lab.workloads.cases.player import Player
from nvscope.lab.workloads.cases.stated import Case
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES
from nvscope.lab.workloads.synthetic.script import Request, Stop, request_options, run
from nvscope.lab.workloads.vmm.kvm import KvmError
from nvscope.lab.workloads.vmm.tables import shadow_tables

FAILURES = "failures"
NAMES = (*CASES, FAILURES)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("case", type=click.Choice(NAMES))
@request_options
@click.option("--seed", type=int, default=1, show_default=True, help=f"Of {FAILURES}.")
@click.option("--records", type=click.IntRange(1), default=1000, help=f"Of {FAILURES}, at least.")
def main(case: str, seed: int, records: int, **request: Any) -> None:
    """Play a CASE on a nested guest, and print what that must have caused, as JSON."""
    chosen = CASES.get(case)
    needs_injection = chosen is None or chosen.injects

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        with injection() if needs_injection else contextlib.nullcontext() as made:
            player = Player(guest, made)
            if chosen is None:
                return {"case": case, **failures.play(player, seed, records, stop)}
            chosen.play(player)
        return {"case": case, "stated": _checked(chosen, guest), "tables": shadow_tables()}

    huge, late_vcpu = (chosen.huge, chosen.late_vcpu) if chosen else (False, False)
    run(Request(**request), BLOCK_BYTES, play, huge=huge, late_vcpu=late_vcpu)


def _checked(case: Case, guest: NestedGuest) -> Mapping[str, int]:
    """What was stated for this kernel. Raises KvmError where the ledger followed something else."""
    stated = case.stated(guest.revmap)
    followed = {name: count for name, count in guest.ledger.counts.as_dict().items() if count}
    if followed != stated:
        different = {
            name: f"{followed.get(name, 0)}, not {stated.get(name, 0)}"
            for name in sorted(followed.keys() | stated.keys())
            if followed.get(name, 0) != stated.get(name, 0)
        }
        raise KvmError(f"the ledger has other counts than stated: {different}")
    return stated


if __name__ == "__main__":
    main()
