"""Whether the VMs that are asked for are there."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nvscope.probes.vms import running_vms


def require(wanted: Sequence[str]) -> None:
    """Raise UsageError where one that is wanted has no name, or VMs run, and it is none of them or
    more than one.

    Where none runs, say that they are waited for: a VM that begins later is measured as well.
    """
    for word in wanted:
        running_vms.require_word(word)
    running = running_vms.running()
    if not running:
        click.echo("nvscope: no VM is running now; those that begin are measured", err=True)
        return
    for word in wanted:
        running_vms.among(running, word)
