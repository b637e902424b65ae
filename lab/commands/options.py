"""The options that several of the lab's commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from nvscope.lab.assets import KERNELS
from nvscope.lab.kernel import names
from nvscope.lab.kernel.packages import archive, packaged
from nvscope.lab.kernel.subject import Subject
from nvscope.probes.errors import InputError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# The parameters that make a Subject.
SUBJECT = ("kernel", "image", "initrd", "source", "patches", "configs")


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


_KERNEL = click.option(
    "--kernel",
    metavar="KERNEL",
    callback=_checked,
    shell_complete=_completed,
    default="lab",
    show_default=True,
    help="lab: built here; tracking: the same with another nested reverse map; debug and"
    " tracking-debug: these with lockdep and KASAN; stock: Debian's current one; a version that"
    " Debian has: 6.18 (its newest), 6.18.15, 6.18-16k, 7.2.12-rt",
)
_IMAGE = click.option(
    "--image",
    type=_FILE,
    help="an arm64 kernel to boot as it is, instead of --kernel: Image, Image.gz or vmlinuz",
)
_INITRD = click.option("--initrd", type=_FILE, help="an initrd for --image; brings its drivers")
_SOURCE = click.option(
    "--source",
    type=click.Path(exists=True, path_type=Path),
    help="a Linux source tree or tarball to build as it is, instead of Debian's source and our"
    " patches; of a tree the next build compiles only what has changed",
)
_PATCH = click.option(
    "--patch",
    "patches",
    type=_FILE,
    multiple=True,
    help="a patch for the source, after ours where it is Debian's; may be given several times",
)
_CONFIG = click.option(
    "--config",
    "configs",
    type=_FILE,
    multiple=True,
    help="kernel settings (CONFIG_X=y) that come after ours; may be given several times",
)


def subject_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What to boot: --kernel, --image, --source and what goes with them, as one `subject`."""

    @functools.wraps(function)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in SUBJECT}
        context = click.get_current_context()
        if given["image"] and context.get_parameter_source("kernel") is not ParameterSource.DEFAULT:
            raise InputError("--image is booted instead of --kernel: give one of them")
        return function(*args, subject=Subject(**given), **kwargs)

    for option in reversed((_KERNEL, _IMAGE, _INITRD, _SOURCE, _PATCH, _CONFIG)):
        chosen = option(chosen)
    return chosen


def revmap_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--revmap: on or off; None where the user leaves it to the kernel."""
    return click.option(
        "--revmap",
        type=click.Choice(["on", "off"]),
        help="whether a kernel that has a nested reverse map uses it  [default: on]",
    )(function)
