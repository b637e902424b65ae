"""Programs on one kernel function and no more, for as long as they are wanted.

bench/cost.py runs it in the lab's host, as `python3 bench/attached.py POINT` with a probe point of
nvscope, or with `--empty FUNCTION`: a pair of programs that do nothing, at its begin and its end.
By fentry and fexit alone: kprobes would count as well, at twice the cost.
Says "attached"; when stdin is closed it says how many calls were counted, and ends.
"""

from __future__ import annotations

import sys

import click

from nvscope.probes.points.loader import load
from nvscope.probes.points.modes import FENTRY

_EMPTY = """
int kfunc__vmlinux__FUNCTION(void *ctx) { return 0; }
int kretfunc__vmlinux__FUNCTION(void *ctx) { return 0; }
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("point", type=click.Choice(["notifier_unmap", "s2_fault"]), required=False)
@click.option("--empty", metavar="FUNCTION", help="A pair that does nothing, on this function.")
def main(point: str | None, empty: str | None) -> None:
    """Hold programs on a POINT, or on a FUNCTION."""
    if (point is None) == (empty is None):
        raise click.UsageError("give a POINT, or --empty FUNCTION")
    if empty:
        import bcc

        held = bcc.BPF(text=_EMPTY.replace("FUNCTION", empty))
        _wait()
        held.cleanup()
        return
    # As on any host: where the end of VMs is seen, a call is not asked whose VM it is.
    with load([str(point), "vm_exit"], mechanisms=[FENTRY], strict=True) as loaded:
        _wait()
        seen = loaded.snapshot()
        calls = sum(row.durations.count for row in seen.notifier_unmaps)
        click.echo(calls + sum(row.durations.count for row in seen.s2_faults))


def _wait() -> None:
    click.echo("attached")
    sys.stdin.read()


if __name__ == "__main__":
    main()
