"""--points: the file is read with the command line, so that what is wrong in it is wrong usage."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from nvscope.probes.commands import complete
from nvscope.probes.points.pointsfile.read import PointsFile, bundled, read


def _take(_: click.Context, __: click.Parameter, name: str | None) -> PointsFile | None:
    return read(name) if name is not None else None


def _complete(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    names = [CompletionItem(name) for name in bundled() if name.startswith(begun)]
    return names or complete.files(".toml")(context, parameter, begun)


points_option = click.option(
    "--points",
    "points_file",
    metavar="NAME|FILE",
    callback=_take,
    shell_complete=_complete,
    help="Which functions of this kernel serve probe points, and where their values are (TOML;"
    f" `nvscope doctor --suggest` makes one). There are by name: {', '.join(bundled())}.",
)


def require_apart(points: PointsFile | None, symbols: Iterable[str]) -> None:
    """Raise UsageError where --symbol names a function of a point that the file is about."""
    for point in symbols:
        if points and point in points.hooks:
            raise click.UsageError(f"{point} is in --points {points.name} and in --symbol")
