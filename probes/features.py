"""What this host is and may do: found by asking it, never by its version."""

from __future__ import annotations

import fcntl
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.btf import Btf
from nvscope.probes.errors import LackError

# uapi/linux/kvm.h: _IO(KVMIO, 0x03), KVM_CAP_ARM_EL2.
KVM_CHECK_EXTENSION = 0xAE03
KVM_CAP_ARM_EL2 = 240

# uapi/linux/capability.h
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}

ARCH = "aarch64"

# kvm-arm.nested_revmap= of the lab's kernel, below /sys: "Y" or "N".
REVMAP_SWITCH = "module/kvm_arm/parameters/nested_revmap"


@dataclass(frozen=True)
class Roots:
    """Where the kernel's file systems are mounted; tests give folders of their own."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


@dataclass(frozen=True)
class Host:
    """This host.

    kvm: /dev/kvm exists; nv2: KVM offers guests EL2 (None: not allowed to ask); revmap:
    "none" (or turned off) | "maple" | "tracking" | "unknown" (no BTF); capabilities: those of
    CAPABILITIES that this process has; lockdown: "none" | "integrity" | "confidentiality" |
    "unknown".
    """

    arch: str
    kernel: str
    kvm: bool
    nv2: bool | None
    btf: bool
    revmap: str
    capabilities: frozenset[str]
    lockdown: str


def read_host(roots: Roots | None = None, arch: str | None = None) -> Host:
    """Ask the host. Raises LackError only where libbpf itself is missing or BTF is broken."""
    roots = roots or Roots()
    btf_file = roots.sys / "kernel/btf/vmlinux"
    return Host(
        arch=arch or platform.machine(),
        kernel=_text(roots.proc / "sys/kernel/osrelease").strip() or "unknown",
        kvm=(roots.dev / "kvm").exists(),
        nv2=_nv2(roots.dev / "kvm"),
        btf=btf_file.is_file(),
        revmap=_revmap_in_use(roots.sys),
        capabilities=_capabilities(roots.proc / "self/status"),
        lockdown=_lockdown(roots.sys / "kernel/security/lockdown"),
    )


def revmap(btf: Btf) -> str:
    """Which reverse map the kernel has: "none" | "maple" | "tracking"."""
    if btf.has_struct("kvm_guest_s2_mapping"):
        return "tracking"
    return "maple" if btf.has_member("kvm_s2_mmu", "nested_revmap_broken") else "none"


def _revmap_in_use(sys: Path) -> str:
    """The kernel's reverse map; "none" too where it was turned off at boot."""
    btf_file = sys / "kernel/btf/vmlinux"
    if not btf_file.is_file():
        return "unknown"
    turned_off = _text(sys / REVMAP_SWITCH).strip() == "N"
    return "none" if turned_off else revmap(Btf(btf_file))


def require_tracing(host: Host) -> None:
    """Raise LackError unless this process can put BPF programs on KVM's functions here."""
    if host.arch != ARCH:
        raise LackError(
            f"this is {host.arch}, and KVM's nested stage 2 is arm64's:"
            " run it there, or in the emulated lab (nvscope lab)"
        )
    if not may_trace(host):
        raise LackError(
            "no permission to load BPF programs: run as root, or with CAP_BPF and CAP_PERFMON"
        )
    if not host.btf:
        raise LackError(
            "no type information at /sys/kernel/btf/vmlinux:"
            " the kernel needs CONFIG_DEBUG_INFO_BTF, and /sys must be mounted"
        )


def require_host(host: Host) -> None:
    """Raise LackError, one line with the remedy, unless this host can run and trace nested VMs."""
    require_tracing(host)
    if not host.kvm:
        raise LackError("no /dev/kvm: the kernel needs CONFIG_KVM, and must be started at EL2")
    if host.nv2 is False:
        raise LackError(
            "KVM offers guests no EL2 here: that needs FEAT_NV2 and kvm-arm.mode=nested"
            " on the kernel command line (or the emulated lab: nvscope lab)"
        )


def may_trace(host: Host) -> bool:
    """Whether the capabilities suffice to load and attach tracing programs."""
    held = host.capabilities
    return "CAP_SYS_ADMIN" in held or {"CAP_BPF", "CAP_PERFMON"} <= held


def _nv2(device: Path) -> bool | None:
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        return fcntl.ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_EL2) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


def _capabilities(status: Path) -> frozenset[str]:
    match = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", _text(status), re.MULTILINE)
    effective = int(match[1], 16) if match else 0
    return frozenset(name for name, bit in CAPABILITIES.items() if effective >> bit & 1)


def _lockdown(state: Path) -> str:
    """The kernel marks the state with brackets: "none [integrity] confidentiality"."""
    match = re.search(r"\[(\w+)\]", _text(state))
    return match[1] if match else "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
