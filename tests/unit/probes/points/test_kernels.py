"""What nvscope finds in the kernels of Debian from 6.16 on: in each, all that it needs.

kernels/make.py made what stands for them, out of the kernels' own files.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from nvscope.lab.kernel import names
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.kernel import features
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import programs
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from nvscope.probes.points.modes import COUNTS, FENTRY, Mode, Probing
from nvscope.probes.points.programs import Program
from tests.unit.probes.kernels import asked

FOLDER = Path(__file__).parents[1] / "kernels"
SYMBOLS: dict[str, list[str]] = json.loads((FOLDER / "kallsyms.json").read_text())
VERSIONS = sorted(SYMBOLS, key=lambda version: names.numbers(version.partition("-")[0]))

# Version -> the points that fentry cannot serve there, nor any function beside the first.
LACKS: dict[str, set[str]] = {}
# Points whose first function is not in all kernels -> version -> the one that serves it there.
_INLINED = ("6.16.12", "6.17.13", "6.18.15", "6.19.14", "7.0.13")
SERVED_BY = {"s2_fault": dict.fromkeys(_INLINED, "kvm_handle_guest_abort")}

MODES = {
    "counts": COUNTS,
    "trace": Mode(trace=True),
    **{
        f"probe {name}{' --threshold' if threshold else ''}": Mode(
            probing=Probing(name, triggers=True, threshold_ns=threshold)
        )
        for name in KINDS
        for threshold in (0, 1000)
    },
}


@functools.cache
def btf(version: str) -> Btf:
    return Btf(FOLDER / f"{version}.btf")


def points(version: str, mode: Mode) -> list[str]:
    """The points that are attached for this, without what their hooks need."""
    revmap = features.revmap(btf(version))
    if mode.probing is None:
        return list(applicable(revmap, trace=mode.trace))
    kind = KINDS[mode.probing.point]
    if BY_NAME[kind.name].revmap not in ("", revmap):
        return []  # the probe is refused
    possible = {*applicable(revmap), "numa_scan"}
    return [point for point in kind.attached(kind.axes) if point in possible]


def served(version: str, point: str, mode: Mode) -> list[Program]:
    """The programs by fentry whose function this kernel has, best first."""
    plan = programs.plan(BY_NAME[point], (FENTRY,), None, btf(version), mode)
    return [program for program in plan.choices if program.symbol in SYMBOLS[version]]


def test_each_kernel_has_types_and_symbols() -> None:
    assert {path.stem for path in FOLDER.glob("*.btf")} == set(VERSIONS)


def test_the_fixtures_answer_all_that_the_catalog_asks() -> None:
    answered = json.loads((FOLDER / "asked.json").read_text())
    assert set(asked.questions()) <= set(answered), "run: python -m tests.unit.probes.kernels.make"


@pytest.mark.parametrize("version", VERSIONS)
def test_none_has_a_reverse_map(version: str) -> None:
    assert features.revmap(btf(version)) == "none"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_all_points_are_served_by_fentry(version: str, mode: str) -> None:
    wanted = points(version, MODES[mode])
    assert bool(wanted) != mode.startswith("probe revmap_")
    lacking = {point for point in wanted if not served(version, point, MODES[mode])}
    assert lacking == LACKS.get(version, set()) & set(wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_program_needs_is_served_too(version: str, mode: str) -> None:
    for point in points(version, MODES[mode]):
        for program in served(version, point, MODES[mode])[:1]:
            for needed in program.needs:
                assert served(version, needed, MODES[mode]), (point, needed)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_function_serves_but_for_those_known(version: str) -> None:
    for point in points(version, MODES["trace"]):
        for program in served(version, point, MODES["trace"])[:1]:
            first = BY_NAME[point].hooks[0].symbol
            assert program.symbol == SERVED_BY.get(point, {}).get(version, first)


@pytest.mark.parametrize("version", VERSIONS)
def test_types_and_symbols_name_the_same_functions(version: str) -> None:
    described = {name for name in asked.functions() if btf(version).has_function(name)}
    assert described == {symbol.partition(".")[0] for symbol in SYMBOLS[version]}
