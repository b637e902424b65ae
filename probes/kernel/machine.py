"""Whether a machine is a real one: what is measured on an emulated one is no performance figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# MIDR_EL1 (Arm ARM, D24): implementer in bits 31-24, part number in 15-4.
_IMPLEMENTER_SHIFT, _PART_SHIFT, _PART_MASK = 24, 4, 0xFFF
# Implementer 0 is "reserved for software use"; QEMU's TCG says 'Q' there (target/arm, cpu "max").
_SOFTWARE, _QEMU_PART = 0x00, ord("Q")
# Arm's own models: AArch64 Foundation and AEM (asm/cputype.h).
_ARM, _ARM_MODELS = 0x41, (0xD00, 0xD0F)

# What QEMU, kvmtool, crosvm and Firecracker call their arm64 board in its device tree.
_VIRTUAL_BOARD = "linux,dummy-virt"
# What hypervisors put into their firmware tables (SMBIOS), as systemd-detect-virt knows it too.
_VIRTUAL_VENDORS = (
    "QEMU", "KVM", "OpenStack", "KubeVirt", "Amazon EC2", "Google Compute Engine", "VMware", "Xen",
    "VirtualBox", "innotek", "Bochs", "Parallels", "BHYVE", "Hyper-V", "Virtual Machine",
    "Apple Virtualization", "Firecracker", "Alibaba Cloud ECS",
)  # fmt: skip
# In the product's name of a rented machine that is no virtual one, e.g. "m7g.metal".
_METAL = "metal"


@dataclass(frozen=True)
class Machine:
    """kind: "physical" | "virtual" | "emulated" | "unknown"; sign: what tells so, or ""."""

    kind: str
    sign: str = ""


UNKNOWN = Machine("unknown")


def read_machine(proc: Path, sys: Path) -> Machine:
    """What the CPU's identification, the device tree and the firmware's tables say.

    An emulated CPU that pretends to be another one is taken for a virtual machine's. A machine on
    which a hypervisor leaves no sign is taken for a physical one.
    """
    if sign := _emulated(_text(sys / "devices/system/cpu/cpu0/regs/identification/midr_el1")):
        return Machine("emulated", sign)
    if sign := next(_virtual(proc, sys), ""):
        return Machine("virtual", sign)
    told = [_text(sys / "class/dmi/id/product_name"), _model(sys)]
    name = next(filter(None, told), "")
    return Machine("physical", name) if name else UNKNOWN


def _emulated(midr: str) -> str:
    """What emulates a CPU with this MIDR_EL1, or "".

    >>> _emulated("0x00000000000f0510"), _emulated("0x00000000410fd0f0"), _emulated("0x410fd4f0")
    ("QEMU's TCG", 'an Arm model', '')
    """
    if not midr:
        return ""
    value = int(midr, 16)
    implementer, part = value >> _IMPLEMENTER_SHIFT & 0xFF, value >> _PART_SHIFT & _PART_MASK
    if implementer == _SOFTWARE:
        return "QEMU's TCG" if part == _QEMU_PART else "a CPU made by software"
    return "an Arm model" if implementer == _ARM and part in _ARM_MODELS else ""


def _virtual(proc: Path, sys: Path) -> Iterator[str]:
    if _VIRTUAL_BOARD in _text(sys / "firmware/devicetree/base/compatible"):
        yield _model(sys) or _VIRTUAL_BOARD
    if hypervisor := _text(sys / "hypervisor/type"):
        yield hypervisor
    dmi = [_text(sys / "class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    if _METAL not in dmi[1]:
        yield from (vendor for vendor in _VIRTUAL_VENDORS if any(vendor in said for said in dmi))
    flags = [line for line in _text(proc / "cpuinfo").splitlines() if line.startswith("flags")]
    if any("hypervisor" in line.split() for line in flags[:1]):
        yield "a CPU flag of x86"


def _model(sys: Path) -> str:
    return _text(sys / "firmware/devicetree/base/model")


def _text(path: Path) -> str:
    """Strings of a device tree end with a NUL byte."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
