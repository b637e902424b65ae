"""The programs' text in C, and what its compiler is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nvscope.probes.counts import decode, pools
from nvscope.probes.kernel import libbpf
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import COUNTS, Mode, Probing
from nvscope.probes.points.programs import Program
from nvscope.probes.points.sizes import VCPUS_BYTES, Sizes, mmus, rows

SOURCES = Path(__file__).parents[1] / "bpf"
HEADER = SOURCES / "nvscope.h"
# What the programs share, each after those that it needs.
SHARED = (HEADER, *(SOURCES / f"{name}.h" for name in ("calls", "rows", "vcpus", "events")))
# What bcc's own headers include, in place of a kernel's.
HEADERS = SOURCES / "headers"


def source(programs: Sequence[Program], others: Sequence[Path] = ()) -> str:
    """The module's source. Joined, not included: bcc rewrites map calls in the main text only.

    others: what is beside the points' programs.
    """
    files = [*SHARED, *(SOURCES / f"{program.point}.c" for program in programs), *others]
    return "".join(f'#line 1 "{path.name}"\n{path.read_text()}\n' for path in files)


def compiler_flags(programs: Sequence[Program], sizes: Sizes, mode: Mode = COUNTS) -> list[str]:
    """The options for bcc's compiler."""
    page_bytes = os.sysconf("SC_PAGESIZE")
    flags = [
        f"-I{SOURCES}",
        f"-DNV_ROWS={rows(sizes)}",
        f"-DNV_MMUS={mmus(sizes)}",
        f"-DNV_STRIPES={decode.stripes(libbpf.possible_cpus())}",
        f"-DNV_SHARE_ROWS={rows(sizes) // pools.SHARES}",
        f"-DNV_ROW_SHIFT={pools.range_shift(rows(sizes) // pools.SHARES)}",
        f"-DNV_MMU_SHIFT={pools.range_shift(mmus(sizes))}",
        f"-DNV_VCPUS_BYTES={VCPUS_BYTES}",
        f"-DNV_TRACE={int(mode.trace)}",
        *_probing_flags(mode.probing),
        f"-DNV_RING_PAGES={sizes.ring_bytes // page_bytes}",
        f"-DNV_PAGE_SHIFT={page_bytes.bit_length() - 1}",
        *(f"-DNV_HAS_{name.upper()}={int(name in _points(programs))}" for name in BY_NAME),
    ]
    return [*flags, *sorted({flag for program in programs for flag in program.flags})]


def _probing_flags(probing: Probing | None) -> list[str]:
    if probing is None:
        return ["-DNV_PROBE=0", "-DNV_TRIGGER=0", "-DNV_THRESHOLD_NS=0"]
    return [
        "-DNV_PROBE=1",
        f"-DNV_PROBED=NV_{probing.point.upper()}",
        f"-DNV_TRIGGER={int(probing.triggers)}",
        f"-DNV_THRESHOLD_NS={probing.threshold_ns}",
    ]


def _points(programs: Sequence[Program]) -> set[str]:
    return {program.point for program in programs}
