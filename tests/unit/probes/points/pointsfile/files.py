"""A points file for the kernel of foreign.py, and what comes of any file."""

from __future__ import annotations

from collections.abc import Callable

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.modes import COUNTS, MECHANISMS, Mode
from nvscope.probes.points.planning import PlanRequest, Plans
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.points.programs import Program

FOREIGN = """
[revmap]
kind = "tracking"
broken = "lost"

[revmap_record]
function = "rmap_note"
mmu = "what->vcpu->arch.hw_mmu"
nested_ipa = "what->ipa"
canonical_ipa = {value = "gfn", unit = "page"}
size = {value = "what->order", unit = "order"}
outcome = "return"

[revmap_record.outcomes]
stored = [0, "RMAP_NEW"]
unchanged = "rmap_said.RMAP_SAME"
failed = "negative"

[revmap_fallback]
function = "rmap_drop_all"
mmu = "mmu"
only_in_notifier = true
"""
Write = Callable[[str], PointsFile]


def chosen(file: PointsFile, btf: Btf, mode: Mode = COUNTS, *by: str) -> dict[str, Program]:
    wanted = PlanRequest(check.counted(file, mode), by or MECHANISMS, {}, mode, file.catalog())
    return {program.point: program for program in Plans(wanted, btf, lambda _: []).chosen()}


def defines(program: Program) -> dict[str, str]:
    pairs = (flag.removeprefix("-D").split("=") for flag in program.flags)
    return {name.removeprefix(f"NV_{program.point.upper()}_"): value for name, value in pairs}
