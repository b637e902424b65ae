"""`nvscope probe`: how long something takes in this host's kernel, measured now."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nvscope.probes.commands import complete, session
from nvscope.probes.commands.options import (
    duration_option,
    mechanisms_option,
    parsed,
    seconds,
    strict_option,
    symbols_option,
)
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.commands.probe.kinds import AXES, KINDS, Kind
from nvscope.probes.commands.probe.meter import Asked
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.pointsfile.read import PointsFile

_EXAMPLES = """\b
Examples:
  nvscope probe notifier_unmap
  nvscope probe notifier_unmap --by trigger --duration 30s
  nvscope probe shadow_unmap --by scope --by reason --vm db
  nvscope probe s2_fault --threshold 1ms
  nvscope probe revmap_record --by outcome --points my-kernel.toml
  nvscope probe notifier_unmap --duration 1m --json before.json
  nvscope probe notifier_unmap --interval 10s --csv | tee unmaps.csv
"""

_NAMES = "\n".join(f"{kind.name:<15} {kind.text}" for kind in KINDS.values())
_HELP = f"""Measure how long something takes in this host's kernel, for each VM.

\b
NAME says what:
{_NAMES}

Attaches BPF programs to KVM (as root) that count log2 histograms in the kernel. On a terminal, what
was found so far is kept up to date; elsewhere there are lines for each interval. Ctrl-C, SIGTERM or
--duration ends it, with a summary. Percentiles are known to a power of two.

Exit codes: 0 measured, 2 wrong usage, 3 the host lacks something.
"""


def _names(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For a Tab."""
    return [name for name in KINDS if name.startswith(begun)]


@click.command(
    help=_HELP,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("name", metavar="NAME", required=False, shell_complete=_names)
@duration_option
@click.option(
    "--interval",
    metavar="TIME",
    default="1s",
    show_default=True,
    callback=parsed(seconds, "1s or 500ms"),
    help="Refresh, or write a line for each group, after so long.",
)
@click.option(
    "--vm",
    "vms",
    metavar="NAME|UUID|PID",
    multiple=True,
    help="Only this VM, also where it begins later; may be repeated.",
)
@click.option(
    "--by",
    type=click.Choice(AXES),
    multiple=True,
    help="Tell calls apart by this; may be repeated.  [default: vm]",
)
@click.option(
    "--threshold",
    metavar="TIME",
    callback=parsed(seconds, "1ms"),
    help="Show each call that takes so long: whose, of what, who caused it, its kernel stack.",
)
@click.option(
    "--json",
    "json_to",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    shell_complete=complete.files(".json"),
    help="Write the result as JSON to FILE, or to standard output.",
)
@click.option(
    "--csv",
    "csv_to",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    shell_complete=complete.files(".csv"),
    help="Write a row for each group and interval to FILE, or to standard output.",
)
@mechanisms_option
@symbols_option
@points_option
@strict_option
def probe(
    name: str | None,
    duration: float | None,
    interval: float,
    vms: tuple[str, ...],
    by: tuple[str, ...],
    threshold: float | None,
    json_to: str | None,
    csv_to: str | None,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
) -> None:
    session.block()
    # An option whose value may be left out takes the word behind it.
    if name is None and json_to in KINDS:
        name, json_to = json_to, "-"
    if name is None and csv_to in KINDS:
        name, csv_to = csv_to, "-"
    if json_to == csv_to == "-":
        raise click.UsageError("standard output is for --json or for --csv: give one a FILE")
    require_apart(points_file, symbols)
    asked = Asked(_kind(name), _axes(name, by), vms)
    threshold_ns = max(1, round(threshold * 1e9)) if threshold else 0
    from nvscope.probes.commands.probe.run import ProbeOptions, run  # the help needs none of it

    run(
        ProbeOptions(
            asked,
            duration,
            interval,
            threshold_ns,
            json_to,
            csv_to,
            mechanisms or MECHANISMS,
            _symbols(asked, symbols),
            strict,
            points_file,
        )
    )


def _symbols(asked: Asked, symbols: dict[str, str]) -> dict[str, str]:
    """Functions of points that this probe attaches. Raises UsageError."""
    points = asked.kind.possible
    for point in symbols:
        if point not in points:
            raise click.UsageError(
                f"{asked.kind.name} attaches no {point}: --symbol can be of {', '.join(points)}"
            )
    return symbols


def _kind(name: str | None) -> Kind:
    if name not in KINDS:
        said = f"there is no probe {name}" if name else "NAME is missing"
        raise click.UsageError(f"{said}; there are {', '.join(KINDS)}")
    return KINDS[name]


def _axes(name: str | None, by: Sequence[str]) -> tuple[str, ...]:
    """What calls are told apart by, each once. Raises UsageError."""
    kind = _kind(name)
    for axis in by:
        if axis != "vm" and axis not in kind.axes:
            possible = ", ".join(("vm", *kind.axes))
            raise click.UsageError(f"{kind.name} has no {axis}: --by can be {possible}")
    return tuple(dict.fromkeys(by)) or ("vm",)
