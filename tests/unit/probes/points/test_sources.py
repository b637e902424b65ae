"""The programs' text, and what its compiler is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nvscope.probes.counts import decode, pools
from nvscope.probes.kernel import libbpf
from nvscope.probes.points import sources
from nvscope.probes.points.catalog.points import BY_NAME, applicable
from nvscope.probes.points.modes import Mode, Probing
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.points.plans import plan_of


def test_every_name_in_a_program_is_defined(maple: Path) -> None:
    """The compiler would tell; but it is not on every machine."""
    header = "".join(path.read_text() for path in sources.SHARED)
    for point in BY_NAME:
        text = (sources.SOURCES / f"{point}.c").read_text()
        used = set(re.findall(r"\bNV_[A-Z0-9_]+\b", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
        known = set(re.findall(r"\bNV_[A-Z0-9_]+\b", header))
        known |= set(re.findall(r"#define (\w+)", text))
        # One choice for each mechanism: with kprobes some points have one program more.
        mode = Mode(probing=Probing(point, triggers=True, threshold_ns=1))
        chosen = plan_of(point, maple, mode=mode).choices
        general = sources.compiler_flags(chosen[:1], Sizes(vms=1, ring_bytes=1 << 20), mode)
        flags = [*chosen[0].flags, *chosen[1].flags, *general]
        given = {flag.removeprefix("-D").split("=")[0] for flag in flags}
        assert used - known <= given, point


@pytest.mark.parametrize("name", ["calls.h", "rows.h"])
def test_every_name_in_what_programs_share_is_defined(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", (sources.SOURCES / name).read_text(), flags=re.S)
    used = set(re.findall(r"\bNV_[A-Z0-9_]+\b", text))
    known = set(re.findall(r"\bNV_[A-Z0-9_]+\b", sources.HEADER.read_text()))
    defined = "".join(path.read_text() for path in sources.SHARED)
    known |= set(re.findall(r"#define (\w+)", defined))
    flags = sources.compiler_flags([], Sizes(vms=1))
    assert used - known <= {flag.removeprefix("-D").split("=")[0] for flag in flags}


@pytest.mark.parametrize(
    ("cpus", "stripes"), [(1, 1), (2, 2), (3, 4), (64, 4), (192, 4), (4096, 4)]
)
def test_stripes_of_cpus(cpus: int, stripes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power of two, for programs take some bits of a CPU's number; none is NV_ALL_CPUS."""
    monkeypatch.setattr(libbpf, "possible_cpus", lambda: cpus)
    assert f"-DNV_STRIPES={stripes}" in sources.compiler_flags([], Sizes(vms=1))
    assert stripes <= decode.MAX_STRIPES


@pytest.mark.parametrize("vms", [1, 11, 100, 1024, 100_000])
def test_ranges_are_what_the_loader_fills_the_stacks_with(vms: int) -> None:
    flags = sources.compiler_flags([], Sizes(vms))
    given = dict(flag.removeprefix("-D").split("=") for flag in flags if "=" in flag)
    for shift, size in (("NV_ROW_SHIFT", vms * 24), ("NV_MMU_SHIFT", vms * 64)):
        assert int(given[shift]) == pools.range_shift(size)
        assert pools.RANGES << int(given[shift]) >= size
    assert int(given["NV_SHARE_ROWS"]) * 2 == int(given["NV_ROWS"]) == vms * 48


def test_the_source_begins_with_the_header_once(maple: Path) -> None:
    chosen = [plan_of(point, maple).choices[0] for point in applicable("maple")]
    text = sources.source(chosen)
    assert text.startswith('#line 1 "nvscope.h"')
    names = re.findall(r'^#line 1 "(\w+\.h)"$', text, re.M)
    assert names == [path.name for path in sources.SHARED]
    for number, path in enumerate(sources.SHARED):
        needed = re.findall(r'^#include "(\w+\.h)"$', path.read_text(), re.M)
        assert set(needed) <= set(names[:number]), "bcc sees none of what is only included"
    for name in ("lost", "rows"):
        assert len(re.findall(rf'^BPF_F_TABLE\("array", .*, {name}, ', text, re.M)) == 1
    flags = sources.compiler_flags(chosen, Sizes(vms=10))
    assert "-DNV_ROWS=480" in flags
    assert "-DNV_MMUS=640" in flags
    assert len(flags) == len(set(flags))


def test_the_programs_know_which_points_there_are(file: Path) -> None:
    flags = sources.compiler_flags([plan_of("s2_fault", file).choices[0]], Sizes(vms=1))
    assert "-DNV_HAS_S2_FAULT=1" in flags
    assert "-DNV_HAS_REVMAP_FALLBACK=0" in flags


def test_the_programs_know_what_a_one_shot_probe_asks(maple: Path) -> None:
    mode = Mode(probing=Probing("s2_fault", triggers=True, threshold_ns=5))
    flags = set(sources.compiler_flags([], Sizes(vms=10, ring_bytes=1 << 20), mode))
    assert {"-DNV_PROBE=1", "-DNV_PROBED=NV_S2_FAULT", "-DNV_THRESHOLD_NS=5"} <= flags
    assert {"-DNV_TRIGGER=1", "-DNV_TRACE=0", "-DNV_ROWS=480"} <= flags
    nothing = {"-DNV_PROBE=0", "-DNV_TRIGGER=0", "-DNV_THRESHOLD_NS=0"}
    assert nothing <= set(sources.compiler_flags([], Sizes(vms=1)))
