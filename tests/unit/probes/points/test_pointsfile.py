"""Points files: what they give the programs, what is wrong in one, and what a kernel lacks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.probes.commands.doctor.cli import DoctorOptions as Asked
from nvscope.probes.commands.doctor.cli import diagnose
from nvscope.probes.commands.points_option import require_apart
from nvscope.probes.counts.snapshot import Refusal
from nvscope.probes.errors import InputError, LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points import reach
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.modes import COUNTS, MECHANISMS, TRACES, Mode
from nvscope.probes.points.planning import PlanRequest, Plans
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.keys import KEYS
from nvscope.probes.points.pointsfile.read import MOST_BYTES, PointsFile, bundled, read
from nvscope.probes.points.programs import Program
from tests.unit.probes.commands.doctor.host import FakeHost
from tests.unit.probes.kernel.btfs import FALLBACK_ENUM, RECORD_ENUM, Blob, kernel
from tests.unit.probes.points.foreign import foreign_kernel

PATCHES = Path(__file__).parents[4] / "lab/kernel/patches"
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


@pytest.fixture
def foreign(tmp_path: Path) -> Btf:
    """A kernel whose reverse map has names of its own, and values in a struct."""
    return Btf(foreign_kernel(tmp_path / "foreign"))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], PointsFile]:
    def write(text: str) -> PointsFile:
        path = tmp_path / "my.toml"
        path.write_text(text)
        return read(str(path))

    return write


Write = Callable[[str], PointsFile]


def chosen(file: PointsFile, btf: Btf, mode: Mode = COUNTS, *by: str) -> dict[str, Program]:
    wanted = PlanRequest(check.counted(file, mode), by or MECHANISMS, {}, mode, file.catalog())
    return {program.point: program for program in Plans(wanted, btf, lambda _: []).chosen()}


def defines(program: Program) -> dict[str, str]:
    pairs = (flag.removeprefix("-D").split("=") for flag in program.flags)
    return {name.removeprefix(f"NV_{program.point.upper()}_"): value for name, value in pairs}


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


RECORD = '[revmap_record]\nfunction = "f"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[revmap_recrd]\n", "line 1: no table [revmap_recrd]; there are [revmap], [notifier_un"),
        ("revmap_record = 1\n", "line 1: revmap_record is a table: [revmap_record]"),
        ("[revmap\n", "my.toml: Expected ']'"),
        ("[revmap]\nkind = 'mapel'\n", "line 2: [revmap] kind: 'mapel' is not one of maple, track"),
        ("[revmap]\nkind = 1\n", "line 2: [revmap] kind: 1 is not one of maple, tracking"),
        ("[revmap]\nkinds = 'maple'\n", "line 2: [revmap] kinds: no such key; there are kind, bro"),
        ("[revmap]\nbroken = 'a->b'\n", "line 2: [revmap] broken: 'a->b' is no member of struct"),
        ("[revmap]\nbroken = 7\n", "line 2: [revmap] broken: 7 is no member of struct kvm_s2_mmu"),
        ("[revmap_record]\n", "line 1: [revmap_record] has no function: say which serves it, fun"),
        ("[tlbi_all]\nfunction = 'a b'\n", "line 2: [tlbi_all] function: 'a b' is no name of a"),
        ("[tlbi_all]\nfunction = 3\n", "line 2: [tlbi_all] function: 3 is no name of a function"),
        ("[tlbi_all]\nfunction='f'\nmmu='m'\n", "[tlbi_all] mmu: no such key; there are function"),
        (f"{RECORD}cannonical = 'x'\n", "line 3: [revmap_record] cannonical: no such key; there a"),
        (f"{RECORD}mmu = 'a+b'\n", "line 3: [revmap_record] mmu: 'a+b' is no parameter or path"),
        (f"{RECORD}mmu = 4\n", "line 3: [revmap_record] mmu: 4 is no parameter or path"),
        (f"{RECORD}size = true\n", "line 3: [revmap_record] size: True is no parameter or path"),
        (f"{RECORD}size = {{unit = 'page'}}\n", "[revmap_record] size: None is no parameter"),
        (
            f"{RECORD}mmu = {{value = 'm', unit = 'page'}}\n",
            "[revmap_record] mmu: no unit here; th",
        ),
        (f"{RECORD}size = {{value = 's', unit = 'mib'}}\n", "size: unit 'mib' is not one of byte"),
        (f"{RECORD}nested_ipa = {{value = 's', unit = 'order'}}\n", "is not one of byte, page"),
        (f"{RECORD}end = {{value = 'e', of = 'mmu'}}\n", "end: of 'mmu' is not one of canonical_"),
        (f"{RECORD}size = {{value = 'e', of = 'nested_ipa'}}\n", "size: no of here; there are va"),
        (f"{RECORD}size = 's'\nend = 'e'\n", "line 4: [revmap_record] end: there is size already"),
        (f"{RECORD}outcome = 'return'\n", "line 3: [revmap_record] outcome: it needs outcomes"),
        (f"{RECORD}[revmap_record.outcomes]\nstored=0\n", "outcomes: it needs outcome beside it"),
        (f"{RECORD}outcome = 'o'\noutcomes = 1\n", "line 4: [revmap_record] outcomes: 1 is no tab"),
        (
            f"{RECORD}outcome = 'o'\n[revmap_record.outcomes]\nlost = 0\n",
            "line 5: [revmap_record] lost: no such word; there are stored, unchanged, overlapped,",
        ),
        (f"{RECORD}outcome='o'\noutcomes = {{stored = 1.5}}\n", "stored: 1.5 is no number, name"),
        (f"{RECORD}outcome='o'\noutcomes = {{stored = '< 0'}}\n", "stored: '< 0' is no number, na"),
        (
            "[revmap_fallback]\nfunction = 'f'\nonly_in_notifier = 1\n",
            "line 3: [revmap_fallback] only_in_notifier: 1 is not true or false",
        ),
        (
            "[s2_fault]\nfunction = 'kvm_handle_guest_abort'\nnested = 'n'\n",
            "line 3: [s2_fault] nested: nothing reads it where that function is hooked",
        ),
        ("#" * (MOST_BYTES + 1), "is no points file: it is longer than 65,536 bytes"),
    ],
)
def test_a_bad_file_is_one_line(text: str, words: str, written: Write) -> None:
    with pytest.raises(InputError) as raised:
        written(text)
    assert words in raised.value.message
    assert "my.toml" in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[revmap_record]\nfunction = "gone"\n',
            "line 1: [revmap_record] function: this kernel has no function gone",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\nmmu = "mmu"\n',
            "line 3: [revmap_record] mmu: rmap_note() has no parameter mmu;"
            " it has (struct rmap_what *what, gfn_t gfn)",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\n',
            "line 1: [revmap_record]: rmap_note() has no parameter that points to a struct"
            " kvm_s2_mmu; it has (struct rmap_what *what, gfn_t gfn)",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\nmmu = "what->vcpu"\n',
            "line 3: [revmap_record] mmu: what->vcpu is a struct kvm_vcpu *, and has to be struct",
        ),
        (
            FOREIGN.replace('"rmap_said.RMAP_SAME"', '"RMAP_OLD"'),
            "line 16: [revmap_record] unchanged: this kernel has no RMAP_OLD in enum rmap_said",
        ),
        (
            FOREIGN.replace('"lost"', '"lots"'),
            "[revmap] broken: this kernel's struct kvm_s2_mmu has no member lots",
        ),
    ],
)
def test_what_this_kernel_lacks_is_one_line(
    text: str, words: str, foreign: Btf, written: Write
) -> None:
    file = written(text)
    wanted = PlanRequest(check.counted(file, TRACES), mode=TRACES, catalog=file.catalog())
    with pytest.raises(LackError) as raised:
        check.require(file, foreign, wanted)
    assert words in raised.value.message, raised.value.message
    assert raised.value.exit_code == 3


def test_what_is_not_wanted_is_not_missed(foreign: Btf, written: Write) -> None:
    file = written('[revmap_record]\nfunction = "gone"\n')
    check.require(file, foreign, PlanRequest(["s2_fault"]))
    check.require(None, foreign, PlanRequest(["s2_fault"]))


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


def test_the_kind_of_reverse_map(foreign: Btf, written: Write, tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host", revmap="none").facts().host
    file = written('[revmap]\nkind = "tracking"\n')
    assert check.applied(file, host).revmap == check.kind(file, foreign) == "tracking"
    assert check.applied(None, host) == check.applied(written(""), host) == host
    off = replace(host, revmap_off=True)
    assert check.applied(file, off).revmap == "none"
    assert check.kind(None, foreign) == "none"


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
