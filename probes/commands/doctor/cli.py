"""`nvscope doctor`: what this host is, what will work on it, and what to do about the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import click
from rich.console import Console

from nvscope.probes.commands.doctor import suggest as suggesting
from nvscope.probes.commands.doctor import view
from nvscope.probes.commands.doctor.checks import Check, State, checks
from nvscope.probes.commands.doctor.diagnosis import Diagnosis, as_json
from nvscope.probes.commands.doctor.facts import Facts, read_facts
from nvscope.probes.commands.doctor.tracing import forecast
from nvscope.probes.commands.options import mechanisms_option, strict_option, symbols_option
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import KERNEL_BTF, Btf
from nvscope.probes.kernel.features import ARCH, Roots
from nvscope.probes.points.modes import COUNTS, MECHANISMS, TRACES
from nvscope.probes.points.planning import PlanRequest as Planned
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile

_EXAMPLES = """\b
Examples:
  nvscope doctor
  nvscope doctor --attach
  nvscope doctor --suggest > my-kernel.toml
  nvscope doctor --points my-kernel.toml
  nvscope doctor --symbol s2_fault=kvm_handle_guest_abort
  nvscope doctor --json | jq '.checks[] | select(.state == "lack")'
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--attach", is_flag=True, help="Compile and attach as `export` does, then detach.")
@click.option(
    "--suggest",
    is_flag=True,
    help="Write a points file (TOML) for a reverse map with other names, and why; nothing else.",
)
@mechanisms_option
@symbols_option
@points_option
@strict_option
@click.option("--json", "as_object", is_flag=True, help="For programs.")
def doctor(
    attach: bool,
    suggest: bool,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
    as_object: bool,
) -> None:
    """Tell what this host is, and what of nvscope will work on it.

    Each thing that is missing comes with its remedy; where each probe point will attach comes with
    what was to be preferred and why it cannot be had. Nothing is loaded and nothing is changed,
    unless --attach asks for it. Needs no root, but knows less without.

    --suggest looks for a reverse map whose functions have other names, in KVM's part of the
    symbols, by names and parameters. It marks what it cannot tell. --points takes the file.

    Exit codes: 0 `nvscope export` will give metrics, 2 wrong usage, 3 it will not. What is only
    nice to have does not matter.
    """
    require_apart(points_file, symbols)
    if suggest:
        click.echo(suggesting.told(as_object), nl=False)
        return
    wanted = DoctorOptions(mechanisms or MECHANISMS, symbols, attach, strict, points_file)
    named = [hook.symbol for hook in points_file.hooks.values()] if points_file else []
    facts = read_facts(symbols=[*symbols.values(), *named])
    found = diagnose(replace(facts, host=check.applied(points_file, facts.host)), wanted)
    if as_object:
        click.echo(json.dumps(as_json(found), indent=2))
    else:
        view.show(found, Console(width=view.WIDTH, highlight=False))
    sys.exit(0 if found.metrics else LackError.exit_code)


@dataclass(frozen=True)
class DoctorOptions:
    """What the user asked for."""

    mechanisms: tuple[str, ...]
    symbols: Mapping[str, str] = field(default_factory=dict)
    attach: bool = False
    strict: bool = False
    points_file: PointsFile | None = None


def diagnose(facts: Facts, wanted: DoctorOptions, roots: Roots | None = None) -> Diagnosis:
    """What the facts mean for the exporter; where that is wanted and can work, by attaching."""
    told = [*checks(facts), *_points(facts, wanted, roots)]
    if wanted.attach and not any(check.state is State.LACK for check in told):
        attachments, failed = _attach(wanted)
        told += failed
        return Diagnosis(facts.host, told, attachments, attached=True, strict=wanted.strict)
    foreseen: list[Attachment] = []
    if facts.host.arch == ARCH and not facts.host.btf_problem:
        foreseen = forecast(
            facts.tracing, wanted.mechanisms, wanted.symbols, roots, wanted.points_file
        )
    return Diagnosis(facts.host, told, foreseen, strict=wanted.strict)


def _points(facts: Facts, wanted: DoctorOptions, roots: Roots | None) -> list[Check]:
    """Whether this kernel has what the points file names."""
    points = wanted.points_file
    if points is None or facts.host.btf_problem or facts.host.arch != ARCH:
        return []
    btf, by = Btf((roots or Roots()).sys / KERNEL_BTF.relative_to("/sys")), wanted.mechanisms
    counts, traces = (
        list(check.problems(points, btf, Planned(check.counted(points, mode), by, mode=mode)))
        for mode in (COUNTS, TRACES)
    )
    state = State.LACK if counts else State.NOTE if traces else State.OK
    remedy = "; ".join(dict.fromkeys([*counts, *traces]))
    return [Check("points file", f"{points.name} {points.digest[:19]}", state, remedy)]


def _attach(wanted: DoctorOptions) -> tuple[tuple[Attachment, ...], list[Check]]:
    from nvscope.probes.points import loader  # bcc: only where it is asked for

    try:
        with loader.load(
            mechanisms=wanted.mechanisms, symbols=wanted.symbols, points_file=wanted.points_file
        ) as loaded:
            return loaded.attachments, []
    except LackError as error:
        return (), [Check("attach", "failed", State.LACK, error.message)]
