"""The options by which loader and exporter agree: on a place, and on who may read there."""

from __future__ import annotations

import grp
import re
from pathlib import Path

import click

from nvscope.probes.pins.bpffs import DEFAULT

pins_option = click.option(
    "--pins",
    "folder",
    metavar="DIR",
    # Others may go through it and not list it, which is all that a reader needs.
    type=click.Path(file_okay=False, readable=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="A folder of a BPF file system; one is mounted there where there is none.",
)


# gid_t has 32 bits, and -1 is none (chown(2)).
_MAX_GID = (1 << 32) - 2


def group_id(text: str | None) -> int | None:
    """Of --group, a name or digits. Raises BadParameter where the host has no such group."""
    if text is None:
        return None
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= _MAX_GID:
            return int(text)
        raise click.BadParameter(
            f"there is no group {text!r} on this host; to make it: groupadd --system NAME",
            param_hint="--group",
        ) from None


group_option = click.option(
    "--group",
    metavar="NAME|GID",
    help="Let members of this group read what is loaded; else nobody but root may. What is read has"
    " addresses of the kernel in it.",
)
