"""`python3 -m nvscope.probes.pins.readable`: for a package's script, after an upgrade.

Prints "no" where probes are loaded whose counts this version does not read, so that the loader has
to load anew; "yes" where they may stay; "none" where none are loaded.
"""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.probes.pins import bpffs
from nvscope.probes.pins.pinned import is_readable


@click.command()
@click.argument("folder", default=bpffs.DEFAULT, type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Print whether the counts in FOLDER can be read."""
    found = is_readable(folder)
    click.echo("none" if found is None else "yes" if found else "no")


if __name__ == "__main__":
    main()
