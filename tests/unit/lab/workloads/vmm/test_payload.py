"""The payload's build, and what the workload says where it cannot run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.lab.workloads.main import main
from nvscope.lab.workloads.vmm import kvm, payload, protocol
from nvscope.lab.workloads.vmm.stage2 import IPA_BITS, LARGE, MEDIUM, SMALL
from nvscope.probes.errors import LackError

BRANCH = 0b000101  # bits 31:26 of an unconditional B


def assembled(folder: Path) -> bytes:
    try:
        return payload.build(folder).read_bytes()
    except LackError as error:
        pytest.skip(str(error))


def test_payload_is_one_page_with_vectors_and_l2_code(tmp_path: Path) -> None:
    code = assembled(tmp_path / "new")
    assert len(code) == protocol.PAYLOAD_BYTES
    assert [at.name for at in (tmp_path / "new").iterdir()] == ["l1.bin"]
    for vector in range(16):
        at = protocol.VECTORS_OFFSET + vector * 0x80
        assert int.from_bytes(code[at : at + 4], "little") >> 26 == BRANCH
    assert any(code[protocol.L2_ENTRY_OFFSET : protocol.L2_ENTRY_OFFSET + 4])


def test_the_code_lies_in_a_page_of_each_size() -> None:
    for granule in (SMALL, MEDIUM, LARGE):
        for ipa in (protocol.RAM_IPA, protocol.L2_CODE_NESTED_IPA):
            assert ipa == granule.page(ipa)
            assert granule.page(ipa + protocol.PAYLOAD_BYTES - 1) == ipa
        assert protocol.L2_CODE_NESTED_IPA + granule.page_bytes <= 1 << IPA_BITS


def test_l1s_own_el1_differs_from_l2_by_stage_2_alone() -> None:
    vm, tge = 1 << 0, 1 << 27  # Arm ARM D24.2, HCR_EL2
    assert protocol.HCR_L2 & ~vm == protocol.HCR_EL1
    assert not protocol.HCR_EL1 & tge


def test_missing_assembler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _command: None)
    with pytest.raises(LackError, match=r"^\S*as not found, .*: install binutils"):
        payload.build(tmp_path)


def test_no_kvm_is_one_line_and_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_DEVICE", tmp_path / "kvm")
    file = tmp_path / "l1.bin"
    file.write_bytes(bytes(protocol.PAYLOAD_BYTES))
    done = CliRunner().invoke(main, ["-name", "vmA", "--payload", str(file)])
    assert done.exit_code == 3
    assert done.output.splitlines() == [
        f"Error: {tmp_path}/kvm: No such file or directory: run on a KVM/arm64 host"
    ]


def test_a_payload_of_another_size_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "l1.bin"
    file.write_bytes(b"old")
    done = CliRunner().invoke(main, ["-name", "vmA", "--payload", str(file)])
    assert done.exit_code == 2
    assert "3 bytes, not 4096" in done.output
