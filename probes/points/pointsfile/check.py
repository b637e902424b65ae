"""Whether this kernel has what a points file names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nvscope.probes.counts.snapshot import Attachment, Refusal
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import Host
from nvscope.probes.points import programs
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import Mode
from nvscope.probes.points.planning import PlanRequest
from nvscope.probes.points.pointsfile.read import PointsFile


def problems(points: PointsFile, btf: Btf, wanted: PlanRequest) -> Iterator[str]:
    """Why hooks of the file cannot be had here: a line each, with what there is instead."""
    if points.broken and not btf.has_member("kvm_s2_mmu", points.broken):
        yield (
            f"{points.name}: [revmap] broken: this kernel's struct kvm_s2_mmu has no member"
            f" {points.broken}"
        )
    for name, hook in points.hooks.items():
        if name not in wanted.points and not BY_NAME[name].helper:
            continue
        alone = replace(BY_NAME[name], hooks=(hook,))
        attempts = programs.plan(alone, wanted.mechanisms, None, btf, wanted.mode).attempts
        refused = [each.why for each in attempts if isinstance(each, Refusal)]
        if attempts and len(refused) == len(attempts):
            why = refused[-1]
            yield why if f"[{name}]" in why else f"{hook.where}: {why}"


def require(points: PointsFile | None, btf: Btf, wanted: PlanRequest) -> None:
    """Raise LackError, one line, unless this kernel has all that the file names and is wanted."""
    for problem in problems(points, btf, wanted) if points else ():
        raise LackError(problem)


def passed_over(points: PointsFile | None, attachments: Iterable[Attachment]) -> Iterator[str]:
    """Where the file's function could not be attached and another was: a line each."""
    hooks = points.hooks if points else {}
    for a in attachments:
        hook = hooks.get(a.point)
        if hook and a.mechanism and a.hook != hook.symbol:
            yield (
                f"{hook.where}: {hook.symbol} cannot be attached, {a.hook} is in its place:"
                f" {a.problem or a.refused[0].why}"
            )


def applied(points: PointsFile | None, host: Host) -> Host:
    """The host with the reverse map that the file says it has; one that is turned off stays so."""
    if points is None or not points.kind or host.revmap_off:
        return host
    return replace(host, revmap=points.kind)


def kind(points: PointsFile | None, btf: Btf) -> str:
    """Which reverse map the kernel has, where the file does not say it: see features.revmap."""
    return (points.kind if points else "") or features.revmap(btf)


def counted(points: PointsFile | None, mode: Mode) -> list[str]:
    """The file's points that are attached though the kernel's reverse map would not ask for them.

    Helpers are attached where a hook needs them, and what only traces have, in a trace.
    """
    named = [BY_NAME[name] for name in (points.hooks if points else ())]
    return [
        point.name
        for point in named
        if not point.helper and not point.only_probed and (mode.trace or not point.only_traced)
    ]
