"""Options that several commands have which attach probes, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.sizes import DEFAULT_MAX_VMS

_SYMBOL = re.compile(r"(?P<point>\w+)=(?P<name>[A-Za-z_][\w.]*)", re.ASCII)


def _symbols(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    symbols: dict[str, str] = {}
    for text in texts:
        match = _SYMBOL.fullmatch(text)
        if match is None:
            raise click.BadParameter(f"{text!r} is no POINT=NAME; for example s2_fault=gmem_abort")
        if match["point"] not in BY_NAME:
            raise click.BadParameter(
                f"there is no probe point {match['point']}; there are {', '.join(BY_NAME)}"
            )
        if match["point"] in symbols:
            raise click.BadParameter(f"{match['point']} is given twice")
        symbols[match["point"]] = match["name"]
    return symbols


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
symbols_option = click.option(
    "--symbol",
    "symbols",
    metavar="POINT=NAME",
    multiple=True,
    callback=_symbols,
    help="Attach a probe point to this kernel symbol and no other; may be repeated. A reverse"
    " map by another patch may have other names for revmap_record, revmap_broken and"
    " revmap_fallback.",
)

max_vms_option = click.option(
    "--max-vms",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=DEFAULT_MAX_VMS,
    show_default=True,
    help="VMs that can be told apart; what others do is counted in nvscope_events_lost_total. Their"
    " counts may take a quarter of this host's memory at most.",
)

_MAX_SECONDS = 1e9  # 30 years; what waits for them takes no more
_UNITS = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0,
}  # fmt: skip


def seconds(text: str) -> float:
    """Seconds in a duration. Raises ValueError.

    >>> seconds("90"), seconds("1.5m"), seconds("250ms")
    (90.0, 90.0, 0.25)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s|min|m|h)?", text)
    value = float(match[1]) * _UNITS[match[2] or ""] if match else 0
    if not 0 < value <= _MAX_SECONDS:
        raise ValueError(text)
    return value


def parsed(parse: Callable[[str], float], example: str) -> Callable[..., float | None]:
    """A click callback: the option's text through `parse`, whose ValueError is wrong usage."""

    def callback(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
        try:
            return None if text is None else parse(text)
        except ValueError:
            raise click.BadParameter(f"{text!r}; for example {example}") from None

    return callback


duration_option = click.option(
    "--duration", metavar="TIME", callback=parsed(seconds, "30s, 5m or 1h"), help="Stop after it."
)
