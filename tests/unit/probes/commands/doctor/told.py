"""What doctor tells of a host, and parts of it."""

from __future__ import annotations

from rich.console import Console

from nvscope.probes.commands.doctor import view
from nvscope.probes.commands.doctor.checks import Check
from nvscope.probes.commands.doctor.cli import DoctorOptions, diagnose
from nvscope.probes.commands.doctor.diagnosis import Diagnosis
from nvscope.probes.commands.doctor.facts import Facts
from nvscope.probes.counts.snapshot import Refusal
from nvscope.probes.points.modes import MECHANISMS
from tests.unit.probes.commands.doctor.host import FakeHost


def diagnosed(host: FakeHost, facts: Facts | None = None, *, strict: bool = False) -> Diagnosis:
    return diagnose(facts or host.facts(), DoctorOptions(MECHANISMS, strict=strict), host.roots)


def text_of(found: Diagnosis) -> str:
    console = Console(width=view.WIDTH, highlight=False, force_terminal=False)
    with console.capture() as captured:
        view.show(found, console)
    return captured.get()


def check(found: Diagnosis, name: str) -> Check:
    return next(each for each in found.checks if each.name == name)


def attached(found: Diagnosis) -> dict[str, str]:
    return {a.point: f"{a.mechanism} {a.hook}" for a in found.attachments}


def refused(found: Diagnosis, point: str) -> list[Refusal]:
    return [r for a in found.attachments if a.point == point for r in a.refused]
