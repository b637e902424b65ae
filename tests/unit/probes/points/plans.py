"""What is planned for a point of some kernel, and the macros of a plan's choice."""

from __future__ import annotations

from pathlib import Path

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import programs
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import COUNTS, MECHANISMS, Mode
from nvscope.probes.points.programs import Plan


def plan_of(
    point: str,
    file: Path,
    mechanisms: tuple[str, ...] = MECHANISMS,
    symbol: str | None = None,
    *,
    mode: Mode = COUNTS,
) -> Plan:
    return programs.plan(BY_NAME[point], mechanisms, symbol, Btf(file), mode)


def defines(plan: Plan, choice: int = 0) -> dict[str, str]:
    pairs = (flag.removeprefix("-D").split("=") for flag in plan.choices[choice].flags)
    return {name.removeprefix(f"NV_{plan.point.upper()}_"): value for name, value in pairs}
