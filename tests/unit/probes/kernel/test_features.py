"""What a host is, from folders that look like its /proc, /sys and /dev."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from nvscope.probes.kernel.features import Host, Roots
from nvscope.probes.kernel.machine import Machine
from tests.unit.probes.kernel.btfs import kernel
from tests.unit.probes.points.foreign import foreign_kernel

GOOD = Host(
    arch="aarch64",
    kernel="7.3.4",
    kvm=True,
    nv2=True,
    revmap="none",
    capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"}),
    lockdown="none",
)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    found = Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev")
    for folder in ("proc/self", "proc/sys/kernel", "sys/kernel/btf", "sys/kernel/security", "dev"):
        (tmp_path / folder).mkdir(parents=True)
    (found.proc / "sys/kernel/osrelease").write_text("7.3.4-test\n")
    (found.proc / "sys/kernel/hostname").write_text("db7\n")
    (found.proc / "cmdline").write_text("ro kvm-arm.mode=nested quiet\n")
    (found.sys / "class/dmi/id").mkdir(parents=True)
    (found.sys / "class/dmi/id/product_name").write_text("Mt. Jade\n")
    (found.proc / "self/status").write_text("Name:\tx\nCapEff:\t000000c000000000\n")
    (found.sys / "kernel/security/lockdown").write_text("none [integrity] confidentiality\n")
    (found.dev / "kvm").touch()
    return found


def test_read_host(roots: Roots) -> None:
    kernel(roots.sys / "kernel/btf/vmlinux", revmap="maple")
    assert features.read_host(roots, arch="aarch64") == Host(
        arch="aarch64",
        kernel="7.3.4-test",
        kvm=True,
        nv2=False,  # a plain file takes no ioctl
        revmap="maple",
        capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"}),
        lockdown="integrity",
        kvm_asked="nested",
        name="db7",
        machine=Machine("physical", "Mt. Jade"),
    )


def test_read_an_empty_host(tmp_path: Path) -> None:
    found = features.read_host(Roots(tmp_path, tmp_path, tmp_path), arch="aarch64")
    assert "CONFIG_DEBUG_INFO_BTF" in found.btf_problem
    unknown = replace(found, btf_problem="")
    assert unknown == Host("aarch64", "unknown", False, False, "unknown", frozenset(), "unknown")


def test_damaged_types_are_a_problem(roots: Roots) -> None:
    (roots.sys / "kernel/btf/vmlinux").write_bytes(b"x" * 100)
    found = features.read_host(roots)
    assert "libbpf can read" in found.btf_problem
    assert found.revmap == "unknown"


@pytest.mark.parametrize(
    ("kvm", "nv2", "asked", "mode"),
    [
        (True, True, "nested", "nested"),
        (True, None, "nested", "nested"),  # not allowed to ask
        (True, None, "", "vhe"),
        (True, False, "nested", "vhe"),  # the CPU has no FEAT_NV2
        (True, False, "vhe", "vhe"),
        (True, False, "protected", "protected"),
        (True, False, "nvhe", "nvhe"),
        (False, False, "none", "none"),
        (False, False, "nested", "none"),
    ],
)
def test_kvm_mode(kvm: bool, nv2: bool | None, asked: str, mode: str) -> None:
    assert replace(GOOD, kvm=kvm, nv2=nv2, kvm_asked=asked).kvm_mode == mode


@pytest.mark.parametrize("kind", ["none", "maple", "tracking"])
def test_revmap(tmp_path: Path, kind: str) -> None:
    assert features.revmap(features.Btf(kernel(tmp_path / "btf", revmap=kind))) == kind


def test_a_member_that_mainline_lacks_may_be_a_reverse_maps(roots: Roots) -> None:
    foreign_kernel(roots.sys / "kernel/btf/vmlinux")
    host = features.read_host(roots)
    assert (host.revmap, host.strange_members) == ("unknown", ("lost",))


@pytest.mark.parametrize(
    ("kind", "switch"), zip(("maple", "tracking"), features.REVMAP_SWITCHES, strict=True)
)
def test_a_reverse_map_that_was_turned_off_is_none(roots: Roots, kind: str, switch: str) -> None:
    kernel(roots.sys / "kernel/btf/vmlinux", revmap=kind)
    path = roots.sys / switch
    path.parent.mkdir(parents=True)
    for state, found_kind in (("Y", kind), ("N", "none")):
        path.write_text(f"{state}\n")
        found = features.read_host(roots)
        assert (found.revmap, found.revmap_off) == (found_kind, state == "N")


def test_lockdown(roots: Roots) -> None:
    security = roots.sys / "kernel/security"

    def found() -> str:
        return features.read_host(roots).lockdown

    assert found() == "integrity"
    (security / "lockdown").unlink()
    assert found() == "unknown"  # an empty folder: securityfs is not mounted
    (security / "lsm").touch()
    assert found() == "none"  # mounted, and no lockdown in it
    (security / "lsm").unlink()
    security.rmdir()
    assert found() == "none"  # a kernel that has no place for it


def test_all_capabilities_of_root(roots: Roots) -> None:
    (roots.proc / "self/status").write_text("CapEff:\t000001ffffffffff\n")
    found = features.read_host(roots)
    assert found.capabilities == frozenset(features.CAPABILITIES)


def test_a_good_host_passes() -> None:
    features.require_host(GOOD)
    features.require_host(replace(GOOD, capabilities=frozenset({"CAP_SYS_ADMIN"})))


def test_a_host_that_may_not_be_asked_for_nv2_passes() -> None:
    features.require_host(replace(GOOD, nv2=None))


@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ({"arch": "x86_64"}, "this is x86_64"),
        ({"capabilities": frozenset({"CAP_BPF"})}, "run as root, or with CAP_BPF and CAP_PERFMON"),
        ({"lockdown": "confidentiality"}, "boot with lockdown=integrity"),
        ({"btf_problem": "CONFIG_DEBUG_INFO_BTF"}, "CONFIG_DEBUG_INFO_BTF"),
        ({"kvm": False}, "no /dev/kvm"),
        ({"nv2": False}, "kvm-arm.mode=nested"),
    ],
    ids=["arch", "capabilities", "lockdown", "btf", "kvm", "nv2"],
)
def test_each_lack_is_one_line_with_a_remedy(lack: dict[str, object], words: str) -> None:
    with pytest.raises(LackError, match=words) as caught:
        features.require_host(replace(GOOD, **lack))  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 3
