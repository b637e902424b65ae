"""The points files in the package, and the commands that read one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.probes.commands.doctor.cli import DoctorOptions as Asked
from nvscope.probes.commands.doctor.cli import diagnose
from nvscope.probes.commands.points_option import require_apart
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.modes import COUNTS, MECHANISMS, TRACES
from nvscope.probes.points.planning import PlanRequest
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import bundled, read
from tests.unit.probes.commands.doctor.host import FakeHost
from tests.unit.probes.kernel.btfs import FALLBACK_ENUM, RECORD_ENUM, Blob, kernel
from tests.unit.probes.points.pointsfile.files import Write, chosen, defines

PATCHES = Path(__file__).parents[5] / "lab/kernel/patches"


def test_the_files_in_the_package(tmp_path: Path) -> None:
    assert bundled() == ("lab-maple", "lab-tracking")
    btf = Btf(kernel(tmp_path / "btf", revmap="maple"))
    file = read("lab-maple")
    assert (file.name, file.kind, file.broken) == ("lab-maple", "maple", "nested_revmap_broken")
    assert file.digest == f"sha256:{hashlib.sha256(file.text.encode()).hexdigest()}"
    for mode in (COUNTS, TRACES):
        wanted = PlanRequest(check.counted(file, mode), mode=mode)
        assert list(check.problems(file, btf, wanted)) == []
    cases = [defines(p)["CASES"] for p in chosen(file, btf).values() if "CASES" in defines(p)]
    names = (("OUTCOME", RECORD_ENUM), ("REASON", FALLBACK_ENUM))
    assert cases == [
        " ".join(
            f"NV_CASE({i}LL,{i}LL,NV_{kind}_{name.replace('WAS_BROKEN', 'SKIPPED')})"
            for i, name in enumerate(words)
        )
        for kind, words in names
    ]


@pytest.mark.parametrize(("name", "patch"), [("lab-maple", "0001-nested-revmap.patch")])
def test_a_file_names_what_the_labs_patch_has(name: str, patch: str) -> None:
    text = (PATCHES / patch).read_text()
    for hook in read(name).hooks.values():
        assert re.search(rf"^\+.*\b{hook.symbol}\(struct kvm_s2_mmu \*mmu", text, re.MULTILINE)
        for case in hook.cases:
            assert isinstance(case.first, int) or re.search(rf"^\+\t{case.first},$", text, re.M)


def test_the_file_for_the_labs_tracking(tmp_path: Path) -> None:
    """Its functions as the lab's patch has them."""
    blob = Blob()
    u64, s32 = blob.integer("u64", 8), blob.integer("int", 4)
    mmu = blob.pointer(blob.struct("kvm_s2_mmu", 16, ("arch", u64, 0), ("pgt", u64, 8)))
    blob.struct(
        "kvm",
        64,
        ("userspace_pid", s32, 0),
        ("arch", blob.struct("kvm_arch", 8, ("mmu", u64, 0)), 8),
    )
    words = ("TRACKED", "ALREADY_TRACKED", "NOT_TRACKED")
    said = blob.enum("kvm_guest_s2_tracked", *(f"KVM_GUEST_S2_{word}" for word in words))
    ipas = ((name, u64) for name in ("nested_ipa", "canonical_ipa", "size"))
    blob.function("kvm_guest_s2_track", said, ("mmu", mmu), *ipas)
    blob.function("kvm_guest_s2_lose", 0, ("mmu", mmu))
    blob.function("kvm_guest_s2_fallback", 0, ("mmu", mmu), ("may_block", s32))
    file, btf = read("lab-tracking"), Btf(blob.write(tmp_path / "tracking"))
    assert file.kind == "tracking"
    found = chosen(file, btf, TRACES)
    assert set(found) == {"revmap_record", "revmap_broken", "revmap_fallback"}
    assert defines(found["revmap_record"])["CASES"] == (
        "NV_CASE(0LL,0LL,NV_OUTCOME_STORED) NV_CASE(1LL,1LL,NV_OUTCOME_UNCHANGED)"
        " NV_CASE(2LL,2LL,NV_OUTCOME_FAILED)"
    )
    said = defines(found["revmap_fallback"])
    assert (said["GIVES_REASON"], said["CASED"]) == ("0", "0")


def test_doctor_shows_the_file(tmp_path: Path, written: Write) -> None:
    host = FakeHost(tmp_path / "host")
    bad = written('[revmap_record]\nfunction = "gone"\n')
    for file, state, remedy in (
        (read("lab-maple"), "ok", ""),
        (bad, "lack", "[revmap_record] function: this kernel has no function gone"),
    ):
        found = diagnose(host.facts(), Asked(MECHANISMS, points_file=file), host.roots)
        (row,) = (each for each in found.checks if each.name == "points file")
        assert (row.state, remedy in row.remedy) == (state, True)
        assert row.value.startswith(f"{file.name} sha256:")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="nvscope")


@pytest.mark.parametrize(
    "words",
    [("record", "t.arrows"), ("export",), ("load",), ("top",), ("probe", "s2_fault"), ("doctor",)],
)
def test_each_command_reads_the_file_first(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[x]\n")
    done = run(*words, "--points", str(tmp_path / "bad.toml"))
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {tmp_path}/bad.toml line 1: no table [x]; there are")
    done = run(*words, "--points", str(tmp_path / "none.toml"))
    assert (done.exit_code, done.output) == (
        3,
        f"Error: cannot read {tmp_path}/none.toml: No such file or directory\n",
    )


def test_a_point_has_one_function(written: Write) -> None:
    with pytest.raises(click.UsageError, match=r"revmap_broken is in --points lab-maple and in "):
        require_apart(read("lab-maple"), ["revmap_broken"])
    require_apart(read("lab-maple"), ["s2_fault"])
    require_apart(None, ["s2_fault"])
