"""What a host is, from folders that look like its /proc, /sys and /dev."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from probes_btf import kernel

from nvscope.probes import features
from nvscope.probes.errors import LackError
from nvscope.probes.features import Host, Roots

GOOD = Host(
    arch="aarch64",
    kernel="7.3.4",
    kvm=True,
    nv2=True,
    btf=True,
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
        btf=True,
        revmap="maple",
        capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"}),
        lockdown="integrity",
    )


def test_read_an_empty_host(tmp_path: Path) -> None:
    found = features.read_host(Roots(tmp_path, tmp_path, tmp_path), arch="aarch64")
    assert found == Host(
        "aarch64", "unknown", False, False, False, "unknown", frozenset(), "unknown"
    )


@pytest.mark.parametrize("kind", ["none", "maple", "tracking"])
def test_revmap(tmp_path: Path, kind: str) -> None:
    assert features.revmap(features.Btf(kernel(tmp_path / "btf", revmap=kind))) == kind


def test_a_reverse_map_that_was_turned_off_is_none(roots: Roots) -> None:
    kernel(roots.sys / "kernel/btf/vmlinux", revmap="maple")
    switch = roots.sys / features.REVMAP_SWITCH
    switch.parent.mkdir(parents=True)
    for state, kind in (("Y", "maple"), ("N", "none")):
        switch.write_text(f"{state}\n")
        assert features.read_host(roots).revmap == kind


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
        ({"btf": False}, "CONFIG_DEBUG_INFO_BTF"),
        ({"kvm": False}, "no /dev/kvm"),
        ({"nv2": False}, "kvm-arm.mode=nested"),
    ],
    ids=["arch", "capabilities", "btf", "kvm", "nv2"],
)
def test_each_lack_is_one_line_with_a_remedy(lack: dict[str, object], words: str) -> None:
    with pytest.raises(LackError, match=words) as caught:
        features.require_host(replace(GOOD, **lack))  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 3
