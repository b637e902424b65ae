"""doctor --suggest: what it proposes for a kernel, why, and that --points takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.probes.commands.doctor import suggest
from nvscope.probes.commands.doctor.candidates import telling
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import Roots
from nvscope.probes.points.modes import TRACES
from nvscope.probes.points.planning import PlanRequest
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile, read
from tests.unit.probes.kernel.btfs import Blob, kernel
from tests.unit.probes.points.foreign import foreign_kernel

FOLDER = Path(__file__).parents[2] / "kernels"
BEFORE, AFTER = "kvm_arch_destroy_vm", "kvm_pgtable_stage2_map"


def kallsyms(*functions: str) -> bytes:
    """These among KVM's, and as many others elsewhere."""
    others = [f"other_{i}" for i in range(1000)]
    names = [*others, BEFORE, *functions, AFTER, *others, "vfs_unmap_record"]
    return "".join(f"0000000000000000 t {name}\n" for name in names).encode()


def accepted(text: str, folder: Path) -> PointsFile:
    path = folder / "suggested.toml"
    path.write_text(text)
    return read(str(path))


def problems(file: PointsFile, btf: Btf) -> list[str]:
    wanted = PlanRequest(check.counted(file, TRACES), mode=TRACES, catalog=file.catalog())
    return list(check.problems(file, btf, wanted))


def test_the_functions_of_a_map_are_found(tmp_path: Path) -> None:
    btf = Btf(kernel(tmp_path / "btf", revmap="maple"))
    names = [f"kvm_nested_revmap_{name}" for name in ("record", "break", "fallback")]
    found = suggest.suggestion(btf, kallsyms(*names, "__bpf_trace_kvm_nested_revmap_broken"))
    assert [each[0].function for each in found.found.values()] == names
    assert (found.kind, found.broken) == ("maple", "")  # its flag is an int in this kernel
    file = accepted(suggest.toml(found), tmp_path)
    assert problems(file, btf) == []
    for role in ("revmap_record", "revmap_fallback"):
        assert meanings(file, role) == meanings(read("lab-maple"), role) != {}


def meanings(file: PointsFile, role: str) -> dict[int | str, str]:
    return {case.first: case.word for case in file.hooks[role].cases}


@pytest.fixture
def other(tmp_path: Path) -> Btf:
    """A map whose names say little."""
    blob = Blob()
    u64, s32 = blob.integer("unsigned long", 8), blob.integer("int", 4)
    gfn, u8 = blob.typedef("gfn_t", u64), blob.integer("_Bool", 1)
    tree = blob.struct("maple_tree", 16)
    members = ("arch", u64, 0), ("pgt", u64, 8), ("map_is_broken", u8, 16), ("tree", tree, 24)
    pointer = blob.pointer(blob.struct("kvm_s2_mmu", 40, *members))
    blob.struct("kvm", 64, ("userspace_pid", s32, 0), ("arch", blob.struct("kvm_arch", 8), 8))
    desc = blob.struct("s2_desc", 32, ("mmu", pointer, 0), ("gfn", gfn, 8), ("l2_ipa", u64, 16))
    blob.function("kvm_add_mapping", s32, ("d", blob.pointer(desc)))
    blob.function("kvm_record_gap", 0, ("mmu", pointer), ("x", u64), ("y", u64), ("last", u64))
    blob.function("kvm_track_one", 0, ("mmu", pointer), ("x", u64))
    blob.function("kvm_unmap_full", 0, ("mmu", pointer))
    blob.function("vfs_unmap_record", 0, ("mmu", pointer), ("x", u64), ("y", u64))
    return Btf(blob.write(tmp_path / "other"))


def test_what_it_cannot_tell_is_marked(other: Btf, tmp_path: Path) -> None:
    names = ("kvm_add_mapping", "kvm_record_gap", "kvm_track_one", "kvm_unmap_full")
    found = suggest.suggestion(other, kallsyms(*names))
    text = suggest.toml(found)
    best, second = found.found["revmap_record"]
    assert (best.function, second.function) == ("kvm_add_mapping", "kvm_record_gap")
    assert "one is named as a nested IPA" in best.why
    assert 'mmu = "d->mmu"\nnested_ipa = "d->l2_ipa"\n' in text
    assert 'canonical_ipa = { value = "d->gfn", unit = "page" }\n' in text
    assert 'size = { value = 0, unit = "order" }  # ? no parameter tells it: a page\n' in text
    assert 'outcomes = { stored = 0, failed = "negative" }  # ? as kernel functions' in text
    assert '\n# kind = "maple"  # or "tracking"\nbroken = "map_is_broken"  # ? ' in text
    assert "without one it judges the kernel's behaviour" in text
    assert "# ? struct kvm_s2_mmu has a maple tree" in text
    assert "only_in_notifier = true  # ? others may call it as well" in text
    assert "# [revmap_broken]: no function looks like it" in text
    assert "# or: kvm_record_gap(struct kvm_s2_mmu *mmu" in text
    assert ('nested_ipa = "x"', "the names do not tell which is which") in second.lines
    assert ('last = "last"', "of which IPA is it the end?") in second.lines
    file = accepted(text, tmp_path)
    assert (file.kind, problems(file, other)) == ("", [])


def test_functions_of_others_are_not_looked_at(other: Btf) -> None:
    found = suggest.suggestion(other, kallsyms())
    assert found.found["revmap_record"] == []
    assert ("vfs_unmap_record", False) not in list(telling(kallsyms()))


def test_nothing_is_proposed_without_what_notes_mappings(other: Btf, tmp_path: Path) -> None:
    found = suggest.suggestion(other, kallsyms("kvm_unmap_full"))
    assert [each.function for each in found.found["revmap_fallback"]] == ["kvm_unmap_full"]
    text = suggest.toml(found)
    assert '# function = "kvm_unmap_full"\n' in text
    assert accepted(text, tmp_path).hooks == {}


def test_what_is_broken_to_be_made_is_no_map(tmp_path: Path) -> None:
    blob = Blob()
    mmu = blob.pointer(blob.struct("kvm_s2_mmu", 8))
    blob.function("stage2_try_break_pte", 0, ("mmu", mmu))
    blob.function("kvm_guest_s2_lose", 0, ("mmu", mmu))
    names = ("stage2_try_break_pte", "kvm_guest_s2_lose")
    found = suggest.suggestion(Btf(blob.write(tmp_path / "btf")), kallsyms(*names))
    assert [each.function for each in found.found["revmap_broken"]] == ["kvm_guest_s2_lose"]


def test_functions_named_after_the_maps_state(tmp_path: Path) -> None:
    blob = Blob()
    u64, boolean = blob.integer("unsigned long", 8), blob.integer("_Bool", 1)
    ipa, size_t = blob.typedef("phys_addr_t", u64), blob.typedef("size_t", u64)
    mmu = blob.pointer(blob.struct("kvm_s2_mmu", 16, ("pgt", u64, 0), ("ledgers", u64, 8)))
    ipas = ("l1_ipa", ipa), ("l2_ipa", ipa), ("bytes", size_t)
    said = blob.enum("said", "LEDGER_ADDED", "LEDGER_ALREADY", "LEDGER_NOT_ADDED")
    blob.function("shadow_ledger_add", said, ("mmu", mmu), *ipas)
    blob.function("shadow_ledger_add_one", u64, ("mmu", mmu), *ipas)
    blob.function("shadow_ledger_zap_all", 0, ("mmu", mmu), ("may_block", boolean))
    blob.function("kvm_mapping_allowed", boolean, ("mmu", mmu), *ipas)
    names = [f"shadow_ledger_{name}" for name in ("add_one", "add", "zap_all")]
    btf = Btf(blob.write(tmp_path / "btf"))
    found = suggest.suggestion(btf, kallsyms(*names, "kvm_mapping_allowed"))
    best, second = found.found["revmap_record"]
    assert (best.function, second.function) == ("shadow_ledger_add", "shadow_ledger_add_one")
    lines = ('nested_ipa = "l2_ipa"', 'canonical_ipa = "l1_ipa"', 'size = "bytes"')
    assert best.lines[1:4] == tuple((line, "") for line in lines)
    assert best.lines[5][0] == (
        'outcomes = { stored = ["LEDGER_ADDED"], unchanged = ["LEDGER_ALREADY"],'
        ' failed = ["LEDGER_NOT_ADDED"] }'
    )
    assert [each.function for each in found.found["revmap_fallback"]] == [names[2]]
    accepted(suggest.toml(found), tmp_path)


def test_outcomes_that_fit_no_word_are_left_to_the_reader(tmp_path: Path) -> None:
    blob = Blob()
    u64 = blob.integer("unsigned long", 8)
    ipa = blob.typedef("phys_addr_t", u64)
    mmu = blob.pointer(blob.struct("kvm_s2_mmu", 16, ("pgt", u64, 0)))
    said = blob.enum("said", "FIRST", "SECOND")
    blob.function("kvm_rmap_add", said, ("mmu", mmu), ("gpa", ipa), ("nested_ipa", ipa))
    btf = Btf(blob.write(tmp_path / "btf"))
    text = suggest.toml(suggest.suggestion(btf, kallsyms("kvm_rmap_add")))
    assert "\n# outcomes = …  # ? not placed: FIRST, SECOND\n" in text
    accepted(text, tmp_path)


def test_values_in_a_struct_of_the_map(tmp_path: Path) -> None:
    btf = Btf(foreign_kernel(tmp_path / "btf"))
    found = suggest.suggestion(btf, kallsyms("rmap_note", "rmap_drop_all"))
    (best,) = found.found["revmap_record"]
    assert ('mmu = "what->vcpu->arch.hw_mmu"', "") in best.lines
    unsure = "the names do not tell which is which"
    assert ('canonical_ipa = "what->ipa"', unsure) in best.lines
    assert ('nested_ipa = { value = "gfn", unit = "page" }', unsure) in best.lines
    assert problems(accepted(suggest.toml(found), tmp_path), btf) == []


@pytest.mark.parametrize("btf", sorted(FOLDER.glob("*.btf")), ids=lambda path: path.stem)
def test_kernels_without_a_map(btf: Path, tmp_path: Path) -> None:
    """Nothing is invented for them, and the file is good."""
    symbols = json.loads((FOLDER / "kallsyms.json").read_text())[btf.stem]
    found = suggest.suggestion(Btf(btf), kallsyms(*symbols))
    assert not any(found.found.values())
    assert found.kind == ""
    file = accepted(suggest.toml(found), tmp_path)
    assert (file.kind, dict(file.hooks)) == ("", {})


def test_as_json(tmp_path: Path) -> None:
    roots = Roots(proc=tmp_path / "proc", sys=tmp_path / "sys")
    (tmp_path / "sys/kernel/btf").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    kernel(tmp_path / "sys/kernel/btf/vmlinux", revmap="maple")
    (tmp_path / "proc/kallsyms").write_bytes(kallsyms("kvm_nested_revmap_record"))
    said = json.loads(suggest.told(True, roots))
    assert said["revmap"]["kind"] == "maple"
    (best,) = said["candidates"]
    assert best["function"] == "kvm_nested_revmap_record"
    assert best["signature"].endswith(
        "(struct kvm_s2_mmu *mmu, phys_addr_t nested_ipa,"
        " phys_addr_t canonical_ipa, phys_addr_t size)"
    )
    assert said["file"] == suggest.told(False, roots)


def test_where_there_are_no_types(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suggest, "Roots", lambda: Roots(sys=tmp_path, proc=tmp_path))
    done = CliRunner().invoke(main, ["doctor", "--suggest"], prog_name="nvscope")
    assert done.exit_code == 3
    assert done.output.startswith("Error: no type information at ")
