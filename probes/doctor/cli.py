"""`nvscope doctor`: what this host is, what will work on it, and what to do about the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import click
from rich.console import Console

from nvscope.probes.doctor import view
from nvscope.probes.doctor.checks import Check, State, checks
from nvscope.probes.doctor.diagnosis import Diagnosis, as_json
from nvscope.probes.doctor.facts import Facts, read_facts
from nvscope.probes.doctor.tracing import forecast
from nvscope.probes.errors import LackError
from nvscope.probes.features import ARCH, Roots
from nvscope.probes.options import mechanisms_option, strict_option, symbols_option
from nvscope.probes.programs import MECHANISMS
from nvscope.probes.snapshot import Attachment

_EXAMPLES = """\b
Examples:
  nvscope doctor
  nvscope doctor --attach
  nvscope doctor --symbol s2_fault=kvm_handle_guest_abort
  nvscope doctor --json | jq '.checks[] | select(.state == "lack")'
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--attach", is_flag=True, help="Compile and attach as `export` does, then detach.")
@mechanisms_option
@symbols_option
@strict_option
@click.option("--json", "as_object", is_flag=True, help="For programs.")
def doctor(
    attach: bool,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    strict: bool,
    as_object: bool,
) -> None:
    """Tell what this host is, and what of nvscope will work on it.

    Each thing that is missing comes with its remedy; where each probe point will attach comes with
    what was to be preferred and why it cannot be had. Nothing is loaded and nothing is changed,
    unless --attach asks for it. Needs no root, but knows less without.

    Exit codes: 0 `nvscope export` will give metrics, 2 wrong usage, 3 it will not. What is only
    nice to have does not matter.
    """
    wanted = Wanted(mechanisms or MECHANISMS, symbols, attach, strict)
    found = diagnose(read_facts(symbols=symbols.values()), wanted)
    if as_object:
        click.echo(json.dumps(as_json(found), indent=2))
    else:
        view.show(found, Console(width=view.WIDTH, highlight=False))
    sys.exit(0 if found.metrics else LackError.exit_code)


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    mechanisms: tuple[str, ...]
    symbols: Mapping[str, str] = field(default_factory=dict)
    attach: bool = False
    strict: bool = False


def diagnose(facts: Facts, wanted: Wanted, roots: Roots | None = None) -> Diagnosis:
    """What the facts mean for the exporter; where that is wanted and can work, by attaching."""
    told = checks(facts)
    if wanted.attach and not any(check.state is State.LACK for check in told):
        attachments, failed = _attach(wanted)
        told += failed
        return Diagnosis(facts.host, told, attachments, attached=True, strict=wanted.strict)
    foreseen: list[Attachment] = []
    if facts.host.arch == ARCH and not facts.host.btf_problem:
        foreseen = forecast(facts.tracing, wanted.mechanisms, wanted.symbols, roots)
    return Diagnosis(facts.host, told, foreseen, strict=wanted.strict)


def _attach(wanted: Wanted) -> tuple[tuple[Attachment, ...], list[Check]]:
    from nvscope.probes import loader  # bcc: only where it is asked for

    try:
        with loader.load(mechanisms=wanted.mechanisms, symbols=wanted.symbols) as loaded:
            return loaded.attachments, []
    except LackError as error:
        return (), [Check("attach", "failed", State.LACK, error.message)]
