"""The options that several of the lab's commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from nvscope.lab.assets import KERNELS
from nvscope.lab.kernel import archive, names, packaged


def _checked(_context: click.Context, _option: click.Parameter, word: str) -> str:
    """The word as it is; whether the archive has such a kernel is seen later."""
    if word not in KERNELS:
        try:
            names.wanted(word)
        except ValueError:
            given = ", ".join(KERNELS)
            raise click.BadParameter(
                f"{word!r} is none of {given}, nor a version such as {names.EXAMPLES}"
            ) from None
    return word


def _completed(
    _context: click.Context, _option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What is known without looking it up; versions where a series is written already."""
    releases = {*archive.releases(archive.known()), *packaged.cached()}
    series = {names.dotted(each.series) for each in releases}
    words = sorted(series) if incomplete.count(".") < 2 else sorted(map(str, releases))
    return [CompletionItem(w) for w in (*KERNELS, *words) if w.startswith(incomplete)]


def kernel_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--kernel: any that the lab can boot."""
    return click.option(
        "--kernel",
        metavar="KERNEL",
        callback=_checked,
        shell_complete=_completed,
        default="lab",
        show_default=True,
        help="lab: built here; tracking: the same with another nested reverse map; debug and"
        " tracking-debug: these with lockdep and KASAN; stock: Debian's current one; a version that"
        " Debian has: 6.18 (its newest), 6.18.15, 6.18-16k, 7.2.12-rt",
    )(function)


def source_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--source: what the kernel is built from."""
    return click.option(
        "--source",
        type=click.Path(exists=True, path_type=Path),
        help="a Linux source tree or tarball to build instead of Debian's",
    )(function)


def revmap_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--revmap: on or off."""
    return click.option(
        "--revmap",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="the nested reverse map of the kernel built here",
    )(function)
