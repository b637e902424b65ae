"""`nvscope load` and `nvscope unload`: attach the probes, and let them stay without a process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from nvscope.probes.commands import session
from nvscope.probes.commands.options import (
    max_vms_option,
    mechanisms_option,
    strict_option,
    symbols_option,
)
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.config.options import check_config_option, config_option, said_to_be_good
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.layout import CURRENT
from nvscope.probes.pins.options import group_id, group_option, pins_option
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.pointsfile.read import PointsFile

_HELP = {"help_option_names": ["-h", "--help"]}

_LOAD_EXAMPLES = """\b
Examples:
  nvscope load
  nvscope load --group nvscope
  nvscope load --replace --strict
  nvscope load --points my-kernel.toml
  nvscope load --config /etc/nvscope.toml
  nvscope load --pins /sys/fs/bpf/nvscope
"""


@click.command(epilog=_LOAD_EXAMPLES, context_settings=_HELP)
@config_option
@check_config_option
@pins_option
@group_option
@click.option("--replace", is_flag=True, help="Replace what is loaded; counts start at 0.")
@mechanisms_option
@symbols_option
@points_option
@strict_option
@max_vms_option
def load(
    config: Path | None,
    check_config: bool,
    folder: Path,
    group: str | None,
    replace: bool,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
    max_vms: int,
) -> None:
    """Attach the probes and end: the kernel goes on counting until `nvscope unload`.

    What is attached is pinned to a BPF file system, where `nvscope export --pinned` reads the
    counts. It needs no capability and no compiler, but has to be in --group. Whatever happens to
    exporters, no count is lost.

    Exit codes: 0 loaded, 2 wrong usage, 3 the host lacks something, or another has loaded already.
    """
    if said_to_be_good(check_config, config):
        return
    require_apart(points_file, symbols)
    readers = group_id(group)
    host = features.read_host()
    features.require_host(host)
    bpffs.require(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bpffs.alone(folder))
        stack.callback(_release_unused, folder)
        _require_free(folder, replace)
        _load(folder, readers, mechanisms or MECHANISMS, symbols, points_file, strict, max_vms)


def _require_free(folder: Path, replace: bool) -> None:
    if (folder / CURRENT).is_dir() and not replace:
        raise LackError(
            f"the probes are loaded in {folder} already: nvscope unload, or load with --replace"
        )


def _load(
    folder: Path,
    readers: int | None,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
    max_vms: int,
) -> None:
    from nvscope.probes.pins import write
    from nvscope.probes.points import loader  # the help and the errors above need no bcc

    write.clean(folder)
    loaded = loader.load(
        mechanisms=mechanisms,
        symbols=symbols,
        points_file=points_file,
        strict=strict,
        max_vms=max_vms,
        for_readers=True,
    )
    with contextlib.closing(loaded):
        session.report(loaded.attachments)
        if loaded.untold:
            click.echo(f"nvscope: skipped programs are not counted: {loaded.untold}", err=True)
        session.block()  # pinned is all, or nothing
        write.pin(loaded, folder, readers)
    points = [f"{a.point} ({a.mechanism} {a.hook})" for a in loaded.attachments if a.mechanism]
    click.echo(f"loaded in {folder}; attached: {', '.join(points)}")


_UNLOAD_EXAMPLES = """\b
Examples:
  nvscope unload
  nvscope unload --pins /sys/fs/bpf/nvscope
"""


@click.command(epilog=_UNLOAD_EXAMPLES, context_settings=_HELP)
@pins_option
def unload(folder: Path) -> None:
    """Detach what `nvscope load` has attached, and drop its counts.

    What a loader left that was killed half-way goes, too. It is no error when nothing is loaded.

    Exit codes: 0 nothing is loaded any more, 2 wrong usage, 3 no rights.
    """
    if not bpffs.is_bpffs(folder) or not folder.is_dir():
        click.echo(f"nothing was loaded in {folder}")
        return
    from nvscope.probes.pins import write

    with bpffs.alone(folder):
        try:
            was = write.unpin(folder)
        except OSError as error:
            raise LackError(f"cannot unload {folder}: {error.strerror}; run as root") from None
        bpffs.release(folder)
    click.echo(f"unloaded from {folder}" if was else f"nothing was loaded in {folder}")


def _release_unused(folder: Path) -> None:
    """Leave no mount behind a load that failed."""
    if not (folder / CURRENT).is_dir():
        bpffs.release(folder)
