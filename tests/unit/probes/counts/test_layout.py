"""The C header and its Python mirrors say the same: asked of the C compiler."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nvscope.probes.commands.record.ring import EVENT
from nvscope.probes.counts import decode, pools, stats
from nvscope.probes.counts.snapshot import SLOTS
from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.libbpf import MapKind
from nvscope.probes.points import sources
from nvscope.probes.points.sizes import Sizes, mmus, rows
from nvscope.probes.traces.events import KINDS as EVENTS
from tests.unit.probes.counts.maps import KINDS, entries

ROWS_HEADER = sources.SOURCES / "rows.h"
POOLS = [pool.stack for pool in pools.POOLS]

CONSTANTS = {
    "NV_SLOTS": SLOTS,
    "NV_POINTS": len(decode.POINTS),
    "NV_POINT_SHIFT": decode.POINT_SHIFT,
    "NV_LABEL_BITS": decode.LABEL_BITS,
    "NV_STRIPE_SHIFT": decode.STRIPE_SHIFT,
    "NV_ALL_CPUS": decode.MAX_STRIPES,
    "NV_RANGES": pools.RANGES,
    "NV_POOLS": len(POOLS),
    "NV_STRIPED": POOLS.index("free_striped"),
    "NV_SHARED": POOLS.index("free_shared"),
    "NV_SHADOW": POOLS.index("free_mmus"),
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
    "NV_EVENT_KINDS": len(EVENTS),
    **{f"NV_EVENT_{name.upper()}": i for i, name in enumerate(EVENTS)},
    **{f"NV_{name.upper()}": i for i, name in enumerate(decode.POINTS)},
    **{f"NV_WITHIN_{name.upper()}": i for i, name in enumerate(decode.WITHIN)},
    **{f"NV_REASON_{name.upper()}": i for i, name in enumerate(decode.REASONS)},
    **{f"NV_TRIGGER_{(name or 'none').upper()}": i for i, name in enumerate(decode.TRIGGERS)},
    **{f"NV_OUTCOME_{name.upper()}": i for i, name in enumerate(decode.OUTCOMES)},
    **{f"NV_LOST_{name.upper()}": i for i, name in enumerate(decode.LOSSES)},
    **{f"NV_EDGE_{name.upper()}": i for i, name in enumerate(decode.EDGES)},
}

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


class Range(ctypes.Structure):
    """struct nv_range, as libbpf.push() has it."""

    _fields_ = (("first", ctypes.c_uint32), ("count", ctypes.c_uint32))


def evaluate(
    tmp_path: Path, includes: list[str], expressions: list[str], macros: Sequence[str] = ()
) -> list[int]:
    """The values of constant C expressions."""
    lines = [f"#include {name}" for name in ("<stddef.h>", "<stdio.h>", *includes)]
    prints = [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    code = tmp_path / "ask.c"
    code.write_text("\n".join([*lines, "int main(void) {", *prints, "return 0; }"]))
    command = [
        "cc",
        "-Wall",
        "-Werror",
        f"-I{sources.SOURCES}",
        *macros,
        "-o",
        tmp_path / "ask",
        code,
    ]
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
        ("nv_row", decode.NvRow),
        ("nv_mmu", decode.Mmu),
        ("nv_heads", decode.Heads),
        ("nv_range", Range),
        ("nv_event", decode.Event),
        ("nv_slow", decode.SlowCall),
    ],
    ids=["key", "row", "mmu", "heads", "range", "event", "slow"],
)
def test_structs(tmp_path: Path, name: str, mirror: type[ctypes.Structure]) -> None:
    fields = [field[0] for field in mirror._fields_]
    asked = [f"sizeof(struct {name})"]
    expected = [ctypes.sizeof(mirror)]
    for field in fields:
        asked += [f"offsetof(struct {name}, {field})", f"sizeof(((struct {name} *)0)->{field})"]
        expected += [getattr(mirror, field).offset, getattr(mirror, field).size]
    assert evaluate(tmp_path, ['"nvscope.h"'], asked) == expected


def test_what_all_cpus_write_to_lies_in_cache_lines_of_its_own(tmp_path: Path) -> None:
    """Of 64 bytes. Python reads both as tables of words."""
    sizes = evaluate(tmp_path, ['"nvscope.h"'], ["sizeof(struct nv_row)", "sizeof(struct nv_mmu)"])
    assert sizes == [decode.ROW_BYTES, decode.MMU_BYTES]
    assert [size % 64 for size in sizes] == [0, 0]
    assert decode.MMU_BYTES == 64


def test_who_a_row_is_has_its_pid_and_labels_in_one_word(tmp_path: Path) -> None:
    """Written at once: nobody sees one without the other."""
    [size] = evaluate(tmp_path, ['"nvscope.h"'], ["sizeof(((struct nv_row *)0)->who)"])
    assert size == 8
    assert "return (nv_u64)key->labels << 32 | key->pid;" in ROWS_HEADER.read_text()


def test_a_vms_end_drops_all_labels_that_its_rows_can_have(tmp_path: Path) -> None:
    program = (sources.SOURCES / "vm_exit.c").read_text()
    drops = dict(re.findall(r"nv_drop_rows\(at, &key, stripe, NV_(\w+), (\w+)\);", program))
    bits = dict(zip(drops, evaluate(tmp_path, ['"nvscope.h"'], list(drops.values())), strict=True))
    assert 1 << max(bits.values()) <= decode.LABEL_BITS
    counted = {decode.POINTS[labels >> decode.POINT_SHIFT].upper() for labels in decode.LABELS}
    assert counted == set(drops)
    for labels in decode.LABELS:
        point = decode.POINTS[labels >> decode.POINT_SHIFT].upper()
        assert labels & ((1 << decode.POINT_SHIFT) - 1) < 1 << bits[point]


def test_maps_of_the_tests_are_those_of_the_programs(tmp_path: Path) -> None:
    """The same kinds, of the same sizes, in what C says of them."""
    text = sources.HEADER.read_text() + ROWS_HEADER.read_text()
    declared = {
        name: (f'"{kind}"', key, value, count, flags)
        for kind, key, value, name, count, flags in re.findall(
            r'^BPF_F_TABLE\("(array|hash)", (.+), (.+), (\w+), (.+), (\w+)\);$', text, re.M
        )
    }
    stacks = re.findall(r"^BPF_STACK\((\w+), (.+), (\w+)\);$", text, re.M)
    declared |= {name: ('"stack"', "void", value, count, "0") for name, value, count in stacks}
    assert set(declared) == set(KINDS)
    types = {
        '"array"': libbpf.MAP_TYPE_ARRAY,
        '"hash"': libbpf.MAP_TYPE_HASH,
        '"stack"': libbpf.MAP_TYPE_STACK,
    }
    flags = {"0": 0, "BPF_F_MMAPABLE": libbpf.F_MMAPABLE, "BPF_F_NO_PREALLOC": libbpf.F_NO_PREALLOC}
    sizes = Sizes(vms=7)
    macros = [
        f"-D{name}={value}"
        for name, value in {
            "NV_ROWS": rows(sizes),
            "NV_MMUS": mmus(sizes),
            "NV_SHARE_ROWS": rows(sizes) // pools.SHARES,
        }.items()
    ]
    for name, (kind, key, value, count, flag) in declared.items():
        asked = [f"sizeof({key})" if key != "void" else "0", f"sizeof({value})", count]
        key_bytes, value_bytes, most = evaluate(tmp_path, ['"nvscope.h"'], asked, macros)
        found = MapKind(types[kind], key_bytes, value_bytes, flags[flag])
        assert (found, most) == (KINDS[name], entries(sizes)[name]), name


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
    text = ROWS_HEADER.read_text()
    begin = text.index("#define NV_STEP(")
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
