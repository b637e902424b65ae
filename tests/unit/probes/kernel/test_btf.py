"""Type information is found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import Btf
from tests.unit.probes.kernel.btfs import Blob, kernel


@pytest.fixture
def btf(tmp_path: Path) -> Btf:
    return Btf(kernel(tmp_path / "btf"))


def test_parameters_have_names_and_slots(btf: Btf) -> None:
    found = btf.parameters("kvm_stage2_unmap_range")
    assert [(p.name, p.slot) for p in found] == [
        ("mmu", 0),
        ("start", 1),
        ("size", 2),
        ("may_block", 3),
    ]
    assert btf.slots("kvm_stage2_unmap_range") == len(found)


def test_a_struct_by_value_takes_two_slots(tmp_path: Path) -> None:
    blob = Blob()
    u64 = blob.integer("unsigned long", 8)
    wide = blob.struct("wide", 16, ("a", u64, 0), ("b", u64, 8))
    blob.function("f", u64, ("wide", blob.const(wide)), ("last", u64))
    btf = Btf(blob.write(tmp_path / "btf"))
    assert [p.slot for p in btf.parameters("f")] == [0, 2]
    assert btf.slots("f") == 3


def test_offset_goes_through_nested_and_anonymous_structs(btf: Btf) -> None:
    assert btf.offset("kvm", "userspace_pid") == 12
    assert btf.offset("kvm", "arch.mmu.vtcr") == 16 + 8 + 8


def test_offset_in_an_anonymous_union(tmp_path: Path) -> None:
    blob = Blob()
    u32 = blob.integer("unsigned int", 4)
    union = blob.struct("", 4, ("a", u32, 0), ("b", u32, 0), union=True)
    blob.struct("outer", 8, ("first", u32, 0), ("", union, 4))
    assert Btf(blob.write(tmp_path / "btf")).offset("outer", "b") == 4


def test_member_behind_a_const_pointer(btf: Btf) -> None:
    (s2fd,) = btf.parameters("user_mem_abort")
    assert btf.member_behind(s2fd.type_id, "nested") == 16
    assert btf.member_behind(s2fd.type_id, "absent") is None


def test_what_is_absent_is_said_by_name(btf: Btf) -> None:
    assert not btf.has_function("user_mem_abort_v2")
    assert not btf.has_struct("kvm_guest_s2_mapping")
    assert not btf.has_member("kvm_s2_mmu", "nested_revmap_broken")
    with pytest.raises(KeyError, match="function absent"):
        btf.parameters("absent")
    with pytest.raises(KeyError, match="struct absent"):
        btf.offset("absent", "a")
    with pytest.raises(KeyError, match="member absent of struct kvm"):
        btf.offset("kvm", "arch.absent")


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LackError, match="CONFIG_DEBUG_INFO_BTF"):
        Btf(tmp_path / "absent")


def test_a_file_that_is_not_btf_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "btf").write_bytes(b"root:x:0:0\n" * 100)
    with pytest.raises(LackError, match="libbpf can read"):
        Btf(tmp_path / "btf")
    assert capfd.readouterr().err == ""


def test_enumerators_have_values(tmp_path: Path) -> None:
    btf = Btf(kernel(tmp_path / "btf", revmap="maple"))
    assert btf.enumerator("kvm_revmap_fallback", "KVM_REVMAP_FALLBACK_RACED") == 2
    assert btf.enumerator("kvm_revmap_fallback", "KVM_REVMAP_FALLBACK_OTHER") is None
    assert btf.enumerator("no_such_enum", "KVM_REVMAP_FALLBACK_RACED") is None


def test_what_a_parameter_points_to(btf: Btf) -> None:
    mmu, start, *_ = btf.parameters("kvm_stage2_unmap_range")
    assert btf.points_to(mmu.type_id, "kvm_s2_mmu")
    assert not btf.points_to(mmu.type_id, "kvm")
    assert not btf.points_to(start.type_id, "kvm_s2_mmu")
