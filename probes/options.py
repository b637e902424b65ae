"""Options that all commands have which attach probes."""

from __future__ import annotations

import click

from nvscope.probes.programs import MECHANISMS

mechanisms_option = click.option(
    "--mechanism",
    "mechanisms",
    type=click.Choice(MECHANISMS),
    multiple=True,
    help="Attach by this only; repeat it for an order of preference.  [default: fentry, kprobe]",
)
strict_option = click.option(
    "--strict", is_flag=True, help="Fail unless every probe point could be attached."
)
