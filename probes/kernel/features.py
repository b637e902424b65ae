"""What this host is and may do: found by asking it, never by its version."""

from __future__ import annotations

import fcntl
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvscope.probes.errors import LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.machine import UNKNOWN, Machine, read_machine

# uapi/linux/kvm.h: _IO(KVMIO, 0x03), KVM_CAP_ARM_EL2.
KVM_CHECK_EXTENSION = 0xAE03
KVM_CAP_ARM_EL2 = 240

# uapi/linux/capability.h
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}

ARCH = "aarch64"

# What turns the reverse maps of the lab's kernels off (kvm-arm.nested_revmap=0), below /sys: "Y" or
# "N".
REVMAP_SWITCHES = tuple(
    f"module/kvm_arm/parameters/{name}" for name in ("nested_revmap", "guest_s2_tracking")
)

# Of struct kvm_s2_mmu, in mainline up to 7.3. A reverse map keeps its state there: a kernel with
# another member may have one that is not known here.
MMU_MEMBERS = frozenset(
    (
        *("vmid", "pgd_phys", "pgt", "vtcr", "last_vcpu_ran", "arch", "refcnt", "pending_unmap"),
        *("split_page_cache", "split_page_chunk_size", "tlb_vttbr", "tlb_vtcr"),
        *("nested_stage2_enabled", "shadow_pt_debugfs_dentry"),
    )
)


@dataclass(frozen=True)
class Roots:
    """Where the kernel's file systems are mounted; tests give folders of their own."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


@dataclass(frozen=True)
class Host:
    """This host.

    kvm: /dev/kvm exists; nv2: KVM offers guests EL2 (None: not allowed to ask); kvm_mode: "nested"
    | "protected" | "nvhe" | "none" | "vhe" (the default); kvm_asked: kvm-arm.mode= of the kernel's
    command line, or ""; btf_problem: "" or why the kernel's types cannot be read; revmap: "none"
    (or turned off: revmap_off) | "maple" | "tracking" | "unknown" (no BTF, or there are strange
    members); strange_members: these, see the function of this name; capabilities: those of
    CAPABILITIES that this process has; lockdown: "none" | "integrity" | "confidentiality" |
    "unknown".
    """

    arch: str
    kernel: str
    kvm: bool
    nv2: bool | None
    revmap: str
    capabilities: frozenset[str]
    lockdown: str
    btf_problem: str = ""
    revmap_off: bool = False
    strange_members: tuple[str, ...] = ()
    kvm_asked: str = ""
    name: str = ""
    machine: Machine = UNKNOWN

    @property
    def kvm_mode(self) -> str:
        """What KVM runs as. The kernel does not say it; what it was asked and what it does tell."""
        if not self.kvm:
            return "none"
        if self.nv2 or (self.nv2 is None and self.kvm_asked == "nested"):
            return "nested"
        return self.kvm_asked if self.kvm_asked in ("protected", "nvhe") else "vhe"


def read_host(roots: Roots | None = None, arch: str | None = None) -> Host:
    """Ask the host. What cannot be found out is said in the fields; nothing is raised."""
    roots = roots or Roots()
    btf, btf_problem = _btf(roots.sys / "kernel/btf/vmlinux")
    turned_off = any(_text(roots.sys / switch).strip() == "N" for switch in REVMAP_SWITCHES)
    kind = revmap(btf) if btf else "unknown"
    return Host(
        arch=arch or platform.machine(),
        kernel=_text(roots.proc / "sys/kernel/osrelease").strip() or "unknown",
        kvm=(roots.dev / "kvm").exists(),
        nv2=_nv2(roots.dev / "kvm"),
        revmap="none" if turned_off else kind,
        capabilities=_capabilities(roots.proc / "self/status"),
        lockdown=_lockdown(roots.sys / "kernel/security"),
        btf_problem=btf_problem,
        revmap_off=turned_off,
        strange_members=strange_members(btf) if btf and kind == "unknown" else (),
        kvm_asked=_kvm_asked(_text(roots.proc / "cmdline")),
        name=_text(roots.proc / "sys/kernel/hostname").strip(),
        machine=read_machine(roots.proc, roots.sys),
    )


def revmap(btf: Btf) -> str:
    """Which reverse map the kernel has: "none" | "maple" | "tracking" | "unknown"."""
    if btf.has_struct("kvm_guest_s2_mapping"):
        return "tracking"
    if btf.has_member("kvm_s2_mmu", "nested_revmap_broken"):
        return "maple"
    return "unknown" if strange_members(btf) else "none"


def strange_members(btf: Btf) -> tuple[str, ...]:
    """The members of struct kvm_s2_mmu that mainline lacks: maybe a reverse map's."""
    return tuple(name for name, _ in btf.members("kvm_s2_mmu") if name not in MMU_MEMBERS)


@dataclass(frozen=True)
class Lack:
    """What a host must have and has not. what: one of NEEDS; words: one line with the remedy."""

    what: str
    words: str


# In the order in which they are looked at.
NEEDS = ("arch", "rights", "lockdown", "btf", "kvm", "nv2")


def tracing_lacks(host: Host) -> Iterator[Lack]:
    """Why this process cannot put BPF programs on KVM's functions here."""
    if host.arch != ARCH:
        yield Lack(
            "arch",
            f"this is {host.arch}, and KVM's nested stage 2 is arm64's:"
            " run it there, or in the emulated lab (nvscope lab)",
        )
    if not may_trace(host):
        yield Lack(
            "rights",
            "no permission to load BPF programs: run as root, or with CAP_BPF and CAP_PERFMON",
        )
    if host.lockdown == "confidentiality":
        yield Lack(
            "lockdown",
            "kernel lockdown lets no BPF program read kernel memory:"
            " boot with lockdown=integrity, or none",
        )
    if host.btf_problem:
        yield Lack("btf", host.btf_problem)


def lacks(host: Host) -> Iterator[Lack]:
    """Why no nested VMs can be run and traced here."""
    yield from tracing_lacks(host)
    if not host.kvm:
        off = host.kvm_asked == "none"
        must = "is turned off by kvm-arm.mode=none" if off else "must be started at EL2"
        yield Lack("kvm", f"no /dev/kvm: the kernel needs CONFIG_KVM, and {must}")
    elif host.nv2 is False:
        yield Lack(
            "nv2",
            "KVM offers guests no EL2 here: that needs FEAT_NV2 and kvm-arm.mode=nested"
            " on the kernel command line (or the emulated lab: nvscope lab)",
        )


def require_tracing(host: Host) -> None:
    """Raise LackError unless this process can put BPF programs on KVM's functions here."""
    _require(tracing_lacks(host))


def require_host(host: Host) -> None:
    """Raise LackError, one line with the remedy, unless this host can run and trace nested VMs."""
    _require(lacks(host))


def _require(lacking: Iterator[Lack]) -> None:
    for lack in lacking:
        raise LackError(lack.words)


def may_trace(host: Host) -> bool:
    """Whether the capabilities suffice to load and attach tracing programs."""
    held = host.capabilities
    return "CAP_SYS_ADMIN" in held or {"CAP_BPF", "CAP_PERFMON"} <= held


def _btf(file: Path) -> tuple[Btf | None, str]:
    """The kernel's types, or why they cannot be read."""
    if not file.is_file():
        return None, (
            "no type information at /sys/kernel/btf/vmlinux:"
            " the kernel needs CONFIG_DEBUG_INFO_BTF, and /sys must be mounted"
        )
    try:
        return Btf(file), ""
    except LackError as error:  # no libbpf, or a damaged file
        return None, error.message


def _kvm_asked(command_line: str) -> str:
    """The last kvm-arm.mode= wins; words in quotes are of no interest here.

    >>> _kvm_asked("ro kvm-arm.mode=vhe kvm-arm.mode=nested"), _kvm_asked("ro")
    ('nested', '')
    """
    asked = [word for word in command_line.split() if word.startswith("kvm-arm.mode=")]
    return asked[-1].partition("=")[2] if asked else ""


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


def _lockdown(security: Path) -> str:
    """The kernel marks the state with brackets: "none [integrity] confidentiality".

    Where securityfs is mounted without that file, or has no place to be mounted, there is none.
    """
    state = security / "lockdown"
    match = re.search(r"\[(\w+)\]", _text(state))
    if match:
        return match[1]
    if state.exists() or not security.parent.is_dir():
        return "unknown"
    if security.is_dir():
        mounted = os.access(security, os.R_OK) and any(security.iterdir())
        return "none" if mounted else "unknown"
    return "none"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
