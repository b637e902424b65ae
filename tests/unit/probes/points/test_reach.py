"""From expressions to places in a kernel's types, and from places to values in the C programs."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import programs, reach, sources
from nvscope.probes.points.reach import RESULT_SLOT, Given, Place, UnreachedError, parsed, place
from tests.unit.probes.kernel.btfs import Blob, kernel

WHERE = "my.toml line 3: [revmap_record] mmu"
PAGE_SHIFT = 12


@pytest.fixture
def btf(tmp_path: Path) -> Btf:
    """Of a function f() whose descriptor leads to all kinds of values."""
    blob = Blob()
    u64, u32, s32 = (blob.integer(*of) for of in (("u64", 8), ("u32", 4), ("int", 4)))
    u8 = blob.integer("u8", 1)
    mmu = blob.struct("kvm_s2_mmu", 16, ("vtcr", u64, 0), ("pad", u64, 8))
    pointer = blob.pointer(mmu)
    arch = blob.struct("arch", 24, ("pad", u64, 0), ("hw_mmu", pointer, 8), ("far", u64, 16))
    vcpu = blob.struct("kvm_vcpu", 40, ("pad", u64, 0), ("arch", arch, 8))
    inner = blob.struct("", 8, ("order", u8, 0), ("gfn32", u32, 4))
    desc = blob.struct(
        "desc", 64, ("vcpu", blob.pointer(vcpu), 0), ("", inner, 8), ("own", mmu, 16)
    )
    why = blob.enum("why", "WHY_A", "WHY_B")
    blob.function(
        "f",
        why,
        ("desc", blob.pointer(blob.const(desc))),
        ("ipa", blob.typedef("gpa_t", u64)),
        ("out", blob.pointer(s32)),
        ("mmu", pointer),
    )
    blob.function("nothing", 0, ("why", why))
    return Btf(blob.write(tmp_path / "btf"))


def given(text: str | int, struct: str = "", **more: object) -> Given:
    value = parsed(text) if isinstance(text, str) else text
    return Given(value, WHERE, struct, **more)  # type: ignore[arg-type]


def hops(*offsets: int) -> int:
    return offsets[0] | sum((o + 1) << reach.HOP_BITS * i for i, o in enumerate(offsets) if i)


def number(size_bytes: int, signed: bool = False) -> int:
    width = size_bytes.bit_length() - 1
    return reach.NUMBER | width << reach.WIDTH_SHIFT | (reach.SIGNED if signed else 0)


@pytest.mark.parametrize(
    ("text", "struct", "expected"),
    [
        ("mmu", "kvm_s2_mmu", Place(3, 0, -1)),
        ("ipa", "", Place(1, number(8), -1)),
        ("desc->vcpu", "kvm_vcpu", Place(0, 0, 0)),
        ("desc->vcpu->arch.hw_mmu", "kvm_s2_mmu", Place(0, 0, hops(0, 16))),
        (" desc -> vcpu -> arch . far ", "", Place(0, number(8), hops(0, 24))),
        ("desc->vcpu->arch.hw_mmu->vtcr", "", Place(0, number(8), hops(0, 16, 0))),
        ("desc->order", "", Place(0, number(1), 8)),
        ("desc->gfn32", "", Place(0, number(4), 12)),
        ("&desc->own", "kvm_s2_mmu", Place(0, reach.ADDRESS, 16)),
        ("*out", "", Place(2, number(4), 0)),
        (4096, "", Place(0, reach.CONSTANT, 4096)),
    ],
)
def test_where_a_value_is(text: str | int, struct: str, expected: Place, btf: Btf) -> None:
    assert place("f", given(text, struct), btf) == expected


def test_units_and_the_last_of_a_range(btf: Btf) -> None:
    assert place("f", given("ipa", unit="page"), btf).how == number(8) | 1 << reach.UNIT_SHIFT
    assert place("f", given("desc->order", unit="order"), btf).how == (
        number(1) | 2 << reach.UNIT_SHIFT
    )
    assert place("f", given("ipa", last=True), btf).how == number(8) | reach.NEXT
    page = os.sysconf("SC_PAGESIZE")
    assert place("f", given(3, unit="page"), btf).at == 3 * page
    assert place("f", given(9, unit="order"), btf).at == page << 9


def test_the_result_and_its_names(btf: Btf) -> None:
    result = Given(reach.RETURN, WHERE, cased=True)
    assert place("f", result, btf) == Place(RESULT_SLOT, number(4, signed=True), -1)
    assert reach.named("WHY_B", "f", result, btf) == 1
    assert reach.named("why.WHY_B", "f", None, btf) == 1
    assert reach.named("WHY_A", "nothing", given("why"), btf) == 0


@pytest.mark.parametrize(
    ("text", "struct", "words"),
    [
        (
            "gpa",
            "",
            "f() has no parameter gpa; it has (const struct desc *desc, gpa_t ipa, int *out,"
            " struct kvm_s2_mmu *mmu)",
        ),
        ("desc->mmu", "kvm_s2_mmu", "desc->mmu: const struct desc has no member mmu"),
        ("ipa->mmu", "kvm_s2_mmu", "ipa->mmu: before ->mmu there is a gpa_t, no pointer"),
        ("desc.vcpu", "kvm_vcpu", "desc.vcpu: before .vcpu there is a pointer: write ->vcpu"),
        ("desc->vcpu.arch.far", "", "before .arch there is a pointer: write ->arch"),
        ("ipa", "kvm_s2_mmu", "ipa is a gpa_t, and has to be struct kvm_s2_mmu *"),
        ("desc", "kvm_s2_mmu", "desc is a const struct desc *, and has to be struct kvm_s2_mmu *"),
        ("mmu", "", "mmu is a struct kvm_s2_mmu *, and has to be a number"),
        ("desc->own", "", "desc->own is a struct kvm_s2_mmu, and has to be a number"),
        ("&mmu", "kvm_s2_mmu", "&mmu: a parameter has no address"),
        ("&desc->vcpu", "kvm_s2_mmu", "&desc->vcpu is a struct kvm_vcpu **, and has to be"),
        ("*ipa", "", "*ipa: there is a gpa_t, no pointer"),
    ],
)
def test_what_is_not_there_is_said(text: str, struct: str, words: str, btf: Btf) -> None:
    with pytest.raises(UnreachedError) as raised:
        place("f", given(text, struct), btf)
    assert str(raised.value).startswith(f"{WHERE}: ")
    assert words in str(raised.value)


def test_a_bit_field_has_no_address(tmp_path: Path) -> None:
    blob = Blob()
    u32 = blob.integer("u32", 4)
    inner = blob.struct("", 4)
    for name, bit in ((b"low", 0), (b"high", 3)):
        assert blob._lib.btf__add_field(blob._btf, name, u32, bit, 3) == 0
    outer = blob.struct("outer", 8, ("plain", u32, 0), ("", inner, 4))
    blob.function("g", 0, ("o", blob.pointer(outer)))
    btf = Btf(blob.write(tmp_path / "bits"))
    assert place("g", given("o->plain"), btf) == Place(0, number(4), 0)
    with pytest.raises(UnreachedError, match="o->high is a bit-field, which has no address"):
        place("g", given("o->high"), btf)


def test_no_value_comes_of_void(btf: Btf) -> None:
    with pytest.raises(UnreachedError, match="the result is a void, and has to be a number"):
        place("nothing", Given(reach.RETURN, WHERE), btf)


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("WHY_C", Given(reach.RETURN, WHERE), "this kernel has no WHY_C in enum why"),
        ("X.WHY_A", None, "this kernel has no WHY_A in enum X"),
        ("A", given("ipa"), "A is no name of a gpa_t: write a number, or ENUM.A"),
    ],
)
def test_names_that_are_not_there(name: str, of: Given | None, words: str, btf: Btf) -> None:
    with pytest.raises(UnreachedError, match=re.escape(words)):
        reach.named(name, "f", of, btf)


def test_too_far_for_a_program(tmp_path: Path) -> None:
    file = Btf(kernel(tmp_path / "btf"))
    far = given("mmu->pgt->mmu", "kvm_s2_mmu")
    with pytest.raises(UnreachedError, match="before ->mmu there is a unsigned long, no"):
        place("kvm_stage2_unmap_range", far, file)
    blob = Blob()
    node = blob.struct("node", 8)
    # A chain of pointers that is longer than a program follows.
    for name in ("a", "b", "c", "d"):
        node = blob.struct(name, 8, ("next", blob.pointer(node), 0))
    blob.function("g", 0, ("d", blob.pointer(node)))
    with pytest.raises(UnreachedError, match="beyond what a program reads: 3 pointers"):
        place("g", given("d->next->next->next->next", "node"), Btf(blob.write(tmp_path / "g")))


@pytest.mark.parametrize("text", [" ", "a-b", "a->", "->a", "a+1", "a[0]", "&&a", "4", "f()"])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parsed(text)


# ---- the same in C: compiled as a program of this machine, over memory of its own

_BEGIN, _END = "/* How a value is read;", "/* What a range of numbers means"
_C = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
typedef unsigned long long nv_u64;
#define nv_inline static inline
#define NV_PAGE_SHIFT 12
#define bpf_probe_read_kernel(to, bytes, from) memcpy(to, from, bytes)
static nv_u64 nv_load64(int typed, nv_u64 base, int offset)
{
	return *(nv_u64 *)(base + offset);
}
%s
int main(int argc, char **argv)
{
	static nv_u64 memory[8];
	nv_u64 args[2] = { strtoull(argv[3], 0, 0), (nv_u64)memory };

	memory[1] = (nv_u64)(memory + 4);             /* at 8: a pointer */
	memory[4] = 0x80000000fffffff4ULL;            /* at 32: what it points to */
	int how = atoi(argv[1]);
	nv_u64 from = how & NV_HOW_ADDRESS ? (nv_u64)memory : 0;
	printf("%%llu\n", nv_value(1, args, how, atoll(argv[2])) - from);
	return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("reach")
    text = sources.HEADER.read_text()
    part = text[text.index(_BEGIN) : text.index(_END)]
    (folder / "reach.c").write_text(_C % part)
    subprocess.run(["cc", "-w", "-o", folder / "reach", folder / "reach.c"], check=True)
    return folder / "reach"


MASK = (1 << 64) - 1
PAGE, ORDER = 1 << reach.UNIT_SHIFT, 2 << reach.UNIT_SHIFT


@pytest.mark.parametrize(
    ("slot", "how", "at", "argument", "value"),
    [
        (0, 0, -1, 7, 7),
        (0, number(4), -1, 0xABCD_0000_0005, 5),  # the rest of the register is anybody's
        (0, number(4, signed=True), -1, 0xFFFF_FFF4, MASK - 11),
        (0, number(1), -1, 0x1FF, 0xFF),
        (0, number(8) | PAGE, -1, 0x10, 0x10000),
        (0, number(8) | PAGE | reach.NEXT, -1, 0x1FF, 0x200000),
        (0, number(1) | ORDER, -1, 9, 0x200000),
        (0, number(8) | reach.NEXT, -1, 0xFFF, 0x1000),
        (1, number(8), hops(8, 0), 0, 0x8000_0000_FFFF_FFF4),
        (1, number(4, signed=True), hops(8, 0), 0, MASK - 11),
        (1, number(2), hops(8, 6), 0, 0x8000),
        (1, 0, hops(8, 0), 0, 0x8000_0000_FFFF_FFF4),
        (1, reach.ADDRESS, 24, 0, 24),
        (1, reach.ADDRESS, hops(8, 8), 0, 40),
        (0, reach.CONSTANT, 4096, 7, 4096),
        (0, reach.CONSTANT, -1, 7, MASK),
    ],
)
def test_what_a_program_makes_of_a_place(
    slot: int, how: int, at: int, argument: int, value: int, program: Path
) -> None:
    command = [program, str(slot | how), str(at), str(argument)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == value


def test_a_kprobe_keeps_as_many_arguments_as_its_programs_do() -> None:
    (kept,) = re.findall(r"#define NV_ARGS (\d+)", sources.HEADER.read_text())
    assert int(kept) == programs.KEPT_ARGS
    assert struct.calcsize("P") == 8  # of the addresses above
