"""`nvscope lab kernels`: which packaged kernels there are, and which are cached."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from nvscope.lab.kernel import names
from nvscope.lab.kernel.packages import archive, packaged
from nvscope.lab.setup import steps

# Kernels for clouds have no 9p, by which a guest of the lab sees the checkout.
NOT_BOOTED = ("cloud",)
WIDEST = len("6.19.10,")  # a version, and the comma behind it
NOTES = (
    "-16k has pages of 16 KiB, -rt is PREEMPT_RT. Before 6.16 KVM runs no nested guests on arm64."
    " In RAM: Debian no longer has its modules, so that its root file system is in memory, without"
    " systemd and QEMU. The lab cannot boot -cloud, which has no 9p."
)


@dataclass(frozen=True)
class KernelRow:
    """A kernel.

    kernel: the word for --kernel; nested: KVM runs nested guests in it; boots: the lab can boot it;
    root: where its root file system is then, "disk" or "memory"; cached_bytes: what it takes here
    (0: it is not cached).
    """

    kernel: str
    series: str
    release: str
    nested: bool
    boots: bool
    root: str
    cached_bytes: int


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object a kernel")
def kernels(as_json: bool) -> None:
    """The packaged kernels that `--kernel` can name: those that Debian has, and those cached.

    The archive is read once a day at most. Where it is out of reach, this shows what was there when
    it was last read.

    \b
    Examples:
      nvscope lab kernels
      nvscope lab kernels --json
    """
    rows = listing(_packages())
    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row)))
    else:
        console = Console(soft_wrap=True)
        console.print(table(rows))
        console.print(NOTES, style="dim")


def listing(packages: Iterable[str]) -> list[KernelRow]:
    """A row for each kernel, newest first."""
    packages = list(packages)
    here, whole = packaged.cached(), set(archive.whole(packages))
    known = sorted({*archive.releases(packages), *here}, key=lambda each: each.flavour)
    return [
        KernelRow(
            str(each),
            names.dotted(each.series),
            each.name,
            each.nested,
            each.flavour not in NOT_BOOTED,
            "disk" if each in whole or _has_initrd(here.get(each)) else "memory",
            _bytes(here.get(each)),
        )
        for each in sorted(known, key=lambda each: each.version, reverse=True)
    ]


def table(rows: Iterable[KernelRow]) -> Table:
    """A line for each series."""
    shown = Table(box=box.SIMPLE)
    for name in ("series", "newest", "older", "also as", "cached", "nested guests"):
        shown.add_column(
            name, no_wrap=name != "older", min_width=WIDEST if name == "older" else None
        )
    for series, group in itertools.groupby(rows, key=lambda row: row.series):
        of_series = list(group)
        boot = [row for row in of_series if row.boots]
        versions = list(dict.fromkeys(row.kernel.partition("-")[0] for row in boot or of_series))
        flavours = sorted({f"-{row.kernel.partition('-')[2]}" for row in boot} - {"-"})
        cached = [
            f"{row.kernel} ({row.cached_bytes >> 20} MiB)" for row in boot if row.cached_bytes
        ]
        shown.add_row(
            series,
            versions[0],
            ", ".join(versions[1:]),
            ", ".join(flavours),
            "\n".join(cached),
            _nested(of_series[0]) if boot else "cannot boot",
            style="" if boot else "dim",
        )
    return shown


def _nested(row: KernelRow) -> str:
    return ("yes" if row.nested else "no") + (", in RAM" if row.root == "memory" else "")


def _has_initrd(folder: Path | None) -> bool:
    return folder is not None and (folder / "initrd").exists()


def _packages() -> list[str]:
    try:
        return archive.packages()
    except archive.UnreachableError as error:
        steps.console.print(f"as the archive was when last read: {error.message}")
        return archive.known()


def _bytes(folder: Path | None) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder else 0
