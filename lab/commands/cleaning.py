"""`nvscope lab clean`: removes all that the lab keeps."""

from __future__ import annotations

import shutil

import click

from nvscope.lab.host import running
from nvscope.lab.setup.paths import cache_dir


@click.command()
@click.option("--yes", is_flag=True, help="do not ask")
def clean(yes: bool) -> None:
    """Remove the cache folder: kernels, root file systems, downloads.

    \b
    Examples:
      nvscope lab clean
      nvscope lab clean --yes
    """
    folder = cache_dir()
    if running.find():
        raise click.ClickException("a lab is up: end it first (Ctrl-C where it was booted)")
    if not folder.exists():
        click.echo("nothing to remove")
        return
    size = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
    if not yes:
        click.confirm(f"Remove {folder} ({size >> 20} MiB)?", abort=True)
    shutil.rmtree(folder)
    click.echo(f"removed {folder} ({size >> 20} MiB)")
