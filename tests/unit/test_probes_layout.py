"""The C header and its Python mirrors say the same: asked of the C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from nvscope.probes import decode, libbpf, programs, stats
from nvscope.probes.events import KINDS
from nvscope.probes.ring import EVENT
from nvscope.probes.snapshot import SLOTS

CONSTANTS = {
    "NV_SLOTS": SLOTS,
    "NV_POINTS": len(decode.POINTS),
    "NV_POINT_SHIFT": decode.POINT_SHIFT,
    "NV_LABEL_BITS": decode.LABEL_BITS,
    "NV_FAULT_SHADOW": decode.FAULT_SHADOW,
    "NV_FAULT_ERROR": decode.FAULT_ERROR,
    "NV_FAULT_REFAULT": decode.FAULT_REFAULT,
    "NV_UNMAP_FULL": decode.UNMAP_FULL,
    "NV_TRIGGER_SHIFT": decode.TRIGGER_SHIFT,
    "NV_STACK_DEPTH": decode.STACK_DEPTH,
    "NV_TRIGGERS": len(decode.TRIGGERS),
    "NV_WITHIN_SHIFT": decode.WITHIN_SHIFT,
    "NV_REASON_SHIFT": decode.REASON_SHIFT,
    "NV_WITHINS": len(decode.WITHIN),
    "NV_REASONS": len(decode.REASONS),
    "NV_OUTCOMES": len(decode.OUTCOMES),
    "NV_LOSSES": len(decode.LOSSES),
    "NV_EDGES": len(decode.EDGES),
    "NV_EVENT_KINDS": len(KINDS),
    **{f"NV_EVENT_{name.upper()}": i for i, name in enumerate(KINDS)},
    **{f"NV_{name.upper()}": i for i, name in enumerate(decode.POINTS)},
    **{f"NV_WITHIN_{name.upper()}": i for i, name in enumerate(decode.WITHIN)},
    **{f"NV_REASON_{name.upper()}": i for i, name in enumerate(decode.REASONS)},
    **{f"NV_TRIGGER_{(name or 'none').upper()}": i for i, name in enumerate(decode.TRIGGERS)},
    **{f"NV_OUTCOME_{name.upper()}": i for i, name in enumerate(decode.OUTCOMES)},
    **{f"NV_LOST_{name.upper()}": i for i, name in enumerate(decode.LOSSES)},
    **{f"NV_EDGE_{name.upper()}": i for i, name in enumerate(decode.EDGES)},
}

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def evaluate(tmp_path: Path, includes: list[str], expressions: list[str]) -> list[int]:
    """The values of constant C expressions."""
    lines = [f"#include {name}" for name in ("<stddef.h>", "<stdio.h>", *includes)]
    prints = [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    code = tmp_path / "ask.c"
    code.write_text("\n".join([*lines, "int main(void) {", *prints, "return 0; }"]))
    command = ["cc", "-Wall", "-Werror", f"-I{programs.SOURCES}", "-o", tmp_path / "ask", code]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "ask"], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_constants(tmp_path: Path) -> None:
    values = evaluate(tmp_path, ['"nvscope.h"'], list(CONSTANTS))
    assert dict(zip(CONSTANTS, values, strict=True)) == CONSTANTS


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("nv_key", decode.Key),
        ("nv_row", decode.Row),
        ("nv_mmu", decode.Mmu),
        ("nv_event", decode.Event),
        ("nv_slow", decode.SlowCall),
    ],
    ids=["key", "row", "mmu", "event", "slow"],
)
def test_structs(tmp_path: Path, name: str, mirror: type[ctypes.Structure]) -> None:
    fields = [field[0] for field in mirror._fields_]
    asked = [f"sizeof(struct {name})"]
    expected = [ctypes.sizeof(mirror)]
    for field in fields:
        asked += [f"offsetof(struct {name}, {field})", f"sizeof(((struct {name} *)0)->{field})"]
        expected += [getattr(mirror, field).offset, getattr(mirror, field).size]
    assert evaluate(tmp_path, ['"nvscope.h"'], asked) == expected


def test_struct_nv_event(tmp_path: Path) -> None:
    assert EVENT.names and EVENT.fields
    asked, expected = ["sizeof(struct nv_event)"], [EVENT.itemsize]
    for name in EVENT.names:
        kind, offset = EVENT.fields[name][:2]
        asked += [f"offsetof(struct nv_event, {name})", f"sizeof(((struct nv_event *)0)->{name})"]
        expected += [offset, kind.itemsize]
    assert evaluate(tmp_path, ['"nvscope.h"'], asked) == expected


def test_struct_nv_stats(tmp_path: Path) -> None:
    fields = ("runs", "time_ns", "misses", "id")
    asked = ["sizeof(struct nv_stats)", *(f"offsetof(struct nv_stats, {f})" for f in fields)]
    assert evaluate(tmp_path, ['"nvscope.h"'], asked) == [stats.RECORD.size, 0, 8, 16, 24]


def test_what_the_kernel_tells_of_programs_and_maps(tmp_path: Path) -> None:
    if not Path("/usr/include/linux/bpf.h").exists():
        pytest.skip("no kernel headers for user space")
    asked = [
        *(f"offsetof(struct bpf_prog_info, {name})" for name in ("run_time_ns", "run_cnt")),
        "offsetof(struct bpf_prog_info, recursion_misses)",
        "offsetof(struct bpf_prog_info, id)",
        "offsetof(struct bpf_map_info, max_entries)",
        "sizeof(struct bpf_prog_info)",
        "sizeof(struct bpf_map_info)",
    ]
    *offsets, program_bytes, map_bytes = evaluate(tmp_path, ["<linux/bpf.h>"], asked)
    first = libbpf.PROG_INFO_RUN_TIME_NS
    assert offsets == [
        first, first + 8, first + 16, libbpf.PROG_INFO_ID, libbpf.MAP_INFO_MAX_ENTRIES
    ]  # fmt: skip
    assert program_bytes >= libbpf.PROG_INFO_BYTES
    assert map_bytes >= libbpf.MAP_INFO_BYTES


def test_slots(tmp_path: Path) -> None:
    """The programs' logarithm, asked of all powers of two and those beside them."""
    text = programs.HEADER.read_text()
    begin = text.index("nv_inline nv_u32 nv_slot(")
    file = tmp_path / "slot.h"
    file.write_text(
        "#define nv_inline static inline\n" + text[begin : text.index("\n}\n", begin) + 3]
    )
    powers = [1 << i for i in range(64)]
    durations = sorted({0, *powers, *(n - 1 for n in powers), *(n + 1 for n in powers)})
    found = evaluate(
        tmp_path, ['"nvscope.h"', f'"{file}"'], [f"nv_slot({ns}ULL)" for ns in durations]
    )
    assert found == [min(ns.bit_length(), SLOTS - 1) for ns in durations]
