"""What a points file gives the programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nvscope.probes.counts.snapshot import Refusal
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import reach
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import COUNTS, MECHANISMS, TRACES
from nvscope.probes.points.planning import PlanRequest, Plans
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.keys import KEYS
from nvscope.probes.points.pointsfile.read import read
from tests.unit.probes.commands.doctor.host import FakeHost
from tests.unit.probes.kernel.btfs import Blob, kernel
from tests.unit.probes.points.pointsfile.files import FOREIGN, Write, chosen, defines


def test_what_a_file_gives_the_programs(foreign: Btf, written: Write) -> None:
    found = chosen(written(FOREIGN), foreign, TRACES)
    assert {p: program.symbol for p, program in found.items()} == {
        "revmap_record": "rmap_note",
        "revmap_fallback": "rmap_drop_all",
        "notifier_unmap": "kvm_unmap_gfn_range",  # needed by the other
    }
    said = defines(found["revmap_record"])
    number = reach.NUMBER | 3 << reach.WIDTH_SHIFT
    assert (said["MMU_ARG"], said["MMU_AT"]) == ("0", str(0 | 17 << reach.HOP_BITS))
    assert (said["NESTED_ARG"], said["NESTED_AT"]) == (str(number), "8")
    page, order = 1 << reach.UNIT_SHIFT, 2 << reach.UNIT_SHIFT
    assert (said["CANONICAL_ARG"], said["CANONICAL_AT"]) == (str(1 | number | page), "-1")
    assert (said["SIZE_ARG"], said["SIZE_AT"]) == (str(reach.NUMBER | order), "16")
    assert (said["CASED"], said["RETURNED"], said["SIZE_IS"]) == ("1", "1", "0")
    assert said["CASES"] == (
        "NV_CASE(0LL,0LL,NV_OUTCOME_STORED) NV_CASE(1LL,1LL,NV_OUTCOME_STORED)"
        " NV_CASE(0LL,0LL,NV_OUTCOME_UNCHANGED) NV_CASE(-2147483648LL,-1LL,NV_OUTCOME_FAILED)"
    )
    signed = reach.NUMBER | reach.SIGNED | 2 << reach.WIDTH_SHIFT
    assert said["OUTCOME_ARG"] == str(2 | signed)  # behind two parameters
    assert said["NV_OFFSET_MMU_BROKEN"] == "32"
    fallback = defines(found["revmap_fallback"])
    assert (fallback["CASED"], fallback["CASES"], fallback["ONLY_WITHIN"]) == ("1", "", "1")
    assert fallback["REASON_ARG"] == str(reach.CONSTANT)


def test_a_kprobe_finds_the_result_first(foreign: Btf, written: Write) -> None:
    said = defines(chosen(written(FOREIGN), foreign, COUNTS, "kprobe")["revmap_record"])
    assert int(said["OUTCOME_ARG"]) & 0xFF == 0
    assert "CANONICAL_ARG" not in said  # of traces alone


def test_what_a_kprobe_does_not_keep(tmp_path: Path, written: Write) -> None:
    blob = Blob()
    u64 = blob.integer("u64", 8)
    mmu = blob.struct("kvm_s2_mmu", 24, ("arch", u64, 0), ("pgt", u64, 8))
    blob.struct("kvm", 16, ("userspace_pid", u64, 0), ("arch", u64, 8))
    blob.function("f", u64, *((f"a{i}", u64) for i in range(4)), ("mmu", blob.pointer(mmu)))
    btf = Btf(blob.write(tmp_path / "many"))
    file = written('[revmap_record]\nfunction = "f"\nmmu = "mmu"\n')
    assert chosen(file, btf)["revmap_record"].mechanism == "fentry"
    wanted = PlanRequest(["revmap_record"], ("kprobe",), {}, COUNTS, file.catalog())
    (why,) = check.problems(file, btf, wanted)
    assert "line 1: [revmap_record]: f() takes mmu as parameter 5: a kprobe keeps 4" in why


def test_what_is_not_said_is_looked_up_by_the_catalogs_names(
    tmp_path: Path, written: Write
) -> None:
    """A function alone is what --symbol does."""
    btf = Btf(kernel(tmp_path / "btf", revmap="maple"))
    file = written('[revmap_record]\nfunction = "kvm_nested_revmap_record"\n')
    plain = Plans(PlanRequest(["revmap_record"], mode=TRACES), btf, lambda _: []).chosen()
    assert chosen(file, btf, TRACES)["revmap_record"].flags == plain[0].flags


def test_the_catalog_comes_behind(tmp_path: Path, written: Write) -> None:
    btf = Btf(kernel(tmp_path / "btf"))
    file = written('[shadow_unmap]\nfunction = "kvm_free_stage2_pgd"\nstart = 0\nsize = 0\n')
    plans = Plans(PlanRequest(["shadow_unmap"], catalog=file.catalog()), btf, lambda _: [])
    assert [p.symbol for p in plans.chosen()] == ["kvm_free_stage2_pgd"]
    for _ in MECHANISMS:
        plans.reject("shadow_unmap", "no")
    assert [p.symbol for p in plans.chosen()] == ["kvm_stage2_unmap_range"]
    (attached,) = plans.attachments()
    refused = "kvm_free_stage2_pgd"
    assert attached.refused == (Refusal(refused, "fentry", "no"), Refusal(refused, "kprobe", "no"))
    (said,) = check.passed_over(file, [attached])
    assert said.endswith(
        "my.toml line 1: [shadow_unmap]: kvm_free_stage2_pgd cannot be attached,"
        " kvm_stage2_unmap_range is in its place: no"
    )
    assert list(check.passed_over(read("lab-maple"), [attached])) == []
    assert list(check.passed_over(None, [attached])) == []


@pytest.mark.parametrize(("key", "is_end"), [("end", "1"), ("last", "1")])
def test_an_end_in_place_of_the_size(key: str, is_end: str, tmp_path: Path, written: Write) -> None:
    btf = Btf(kernel(tmp_path / "btf", revmap="maple"))
    head = '[revmap_record]\nfunction = "kvm_nested_revmap_record"\n'
    said = defines(chosen(written(f'{head}{key} = "size"\n'), btf, TRACES)["revmap_record"])
    assert said["SIZE_IS"] == is_end
    assert bool(int(said["SIZE_ARG"]) & reach.NEXT) == (key == "last")
    of = written(f'{head}{key} = {{value = "size", of = "nested_ipa"}}\n')
    assert defines(chosen(of, btf, TRACES)["revmap_record"])["SIZE_IS"] == "2"


def test_a_points_key_is_a_value_of_a_hook() -> None:
    """Every one of them is read by the point's programs, and every value has its key."""
    assert set(KEYS) == set(BY_NAME)
    for name, keys in KEYS.items():
        point = BY_NAME[name]
        read_there = {
            value
            for hook in point.hooks
            for value in (*hook.values, *hook.traced, *hook.maybe, *hook.given)
        }
        assert {key.name for key in keys.values()} == read_there, name


def test_the_kind_of_reverse_map(foreign: Btf, written: Write, tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host", revmap="none").facts().host
    file = written('[revmap]\nkind = "tracking"\n')
    assert check.applied(file, host).revmap == check.kind(file, foreign) == "tracking"
    assert check.applied(None, host) == check.applied(written(""), host) == host
    off = replace(host, revmap_off=True)
    assert check.applied(file, off).revmap == "none"
    assert check.kind(None, foreign) == "unknown"
