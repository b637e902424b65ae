"""Whether the VMs that are asked for are there."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nvscope.probes import vms


def require(wanted: Sequence[str]) -> None:
    """Raise UsageError where VMs run, and one that is wanted is not among them, or is not one only.

    Where none runs, say that they are waited for: a VM that begins later is measured as well.
    """
    running = vms.running()
    if not running:
        click.echo("nvscope: no VM is running now; those that begin are measured", err=True)
        return
    for word in wanted:
        vms.among(running, word)
