"""The option by which loader and exporter agree on a place."""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.probes.pins.bpffs import DEFAULT

pins_option = click.option(
    "--pins",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="A folder of a BPF file system; one is mounted there where there is none.",
)
