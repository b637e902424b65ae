"""A thin layer over /dev/kvm: one VM, vCPUs at virtual EL2, an in-kernel GICv3.

Numbers are from include/uapi/linux/kvm.h and arch/arm64/include/uapi/asm/kvm.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EACCES, EPERM
from pathlib import Path

from nvscope.probes.errors import LackError

_DEVICE = Path("/dev/kvm")
# Kind of reverse map -> the parameter that turns it off, of the lab's patch for it.
REVMAP_SWITCHES = {
    "maple": Path("/sys/module/kvm_arm/parameters/nested_revmap"),
    "tracking": Path("/sys/module/kvm_arm/parameters/guest_s2_tracking"),
}

# ioctls, _IO*(0xAE, nr, size).
_KVM_CREATE_VM = 0xAE01
_KVM_CHECK_EXTENSION = 0xAE03
_KVM_GET_VCPU_MMAP_SIZE = 0xAE04
_KVM_CREATE_VCPU = 0xAE41
_KVM_SET_USER_MEMORY_REGION = 0x4020_AE46
_KVM_RUN = 0xAE80
_KVM_GET_ONE_REG = 0x4010_AEAB
_KVM_SET_ONE_REG = 0x4010_AEAC
_KVM_ARM_VCPU_INIT = 0x4020_AEAE
_KVM_ARM_PREFERRED_TARGET = 0x8020_AEAF
_KVM_CREATE_DEVICE = 0xC00C_AEE0
_KVM_SET_DEVICE_ATTR = 0x4018_AEE1

_KVM_CAP_ARM_VM_IPA_SIZE = 165
_KVM_CAP_ARM_EL2 = 240
_VCPU_FEATURES = (1 << 2) | (1 << 7)  # KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_HAS_EL2

_KVM_DEV_TYPE_ARM_VGIC_V3 = 7
_VGIC_GRP_ADDR, _VGIC_GRP_CTRL, _VGIC_GRP_MAINT_IRQ = 0, 4, 9
_VGIC_ADDR_DIST, _VGIC_ADDR_REDIST, _VGIC_CTRL_INIT = 2, 3, 0
_MAINTENANCE_INTID = 25  # the PPI of Arm's Base System Architecture

_KVM_EXIT_MMIO = 6
_RUN_EXIT_REASON = 8  # offsets in struct kvm_run, in bytes
_RUN_MMIO = 32  # u64 phys_addr, u8 data[8], u32 len, u8 is_write
_RUN_MMIO_DATA = _RUN_MMIO + 8

REG_PC = 0x6030_0000_0010_0040  # KVM_REG_ARM_CORE_REG(regs.pc), u64


class KvmError(RuntimeError):
    """KVM refused something or the guest did what its payload cannot do."""


@dataclass(frozen=True)
class Mmio:
    """KVM_EXIT_MMIO: an access of an IPA without a memslot; data: of a write, little endian."""

    ipa: int
    is_write: bool
    data: int


def revmap_kind() -> str:
    """How this kernel finds what shadow MMUs map, by a patch of the lab: see ledger.Ledger."""
    for kind, switch in REVMAP_SWITCHES.items():
        if switch.exists() and switch.read_text().strip() == "Y":
            return kind
    return "none"


class Vm:
    """A VM with nested virtualization. Raises LackError where the host has none.

    ipa_limit_bits: the host's largest IPA space, which is also the size of each shadow MMU
    (kvm_get_pa_bits() in arch/arm64/kvm/reset.c), whatever PARange the guest reads.

    Closing frees it in an order in which no MMU notifier runs: KVM leaves before the memory.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            kvm = _open()
            stack.callback(os.close, kvm)
            if fcntl.ioctl(kvm, _KVM_CHECK_EXTENSION, _KVM_CAP_ARM_EL2) <= 0:
                raise LackError(
                    f"{_DEVICE} has no nested virtualization (KVM_CAP_ARM_EL2): it needs a CPU "
                    "with FEAT_NV2 and kvm-arm.mode=nested on the kernel command line"
                )
            self.ipa_limit_bits = fcntl.ioctl(kvm, _KVM_CHECK_EXTENSION, _KVM_CAP_ARM_VM_IPA_SIZE)
            self._run_bytes = fcntl.ioctl(kvm, _KVM_GET_VCPU_MMAP_SIZE)
            self._fd = fcntl.ioctl(kvm, _KVM_CREATE_VM, 0)
            stack.callback(os.close, self._fd)
            self._vcpus = 0
            self._target = bytearray(32)  # struct kvm_vcpu_init
            fcntl.ioctl(self._fd, _KVM_ARM_PREFERRED_TARGET, self._target)
            self._open = stack.pop_all()

    def close(self) -> None:
        """Give back all file descriptors and mappings; KVM then destroys the VM."""
        self._open.close()

    def set_memory(self, ipa: int, address: int, size: int) -> None:
        """Make size bytes of this process the guest's at the IPA: memslot 0."""
        region = struct.pack("=IIQQQ", 0, 0, ipa, size, address)
        fcntl.ioctl(self._fd, _KVM_SET_USER_MEMORY_REGION, region)

    def create_vcpu(self) -> Vcpu:
        """One more vCPU, for virtual EL2 with VHE; before it can run: Vcpu.initialise.

        KVM refuses it once there is a GIC (kvm_arch_vcpu_precreate()).
        """
        fd = fcntl.ioctl(self._fd, _KVM_CREATE_VCPU, self._vcpus)
        self._vcpus += 1
        self._open.callback(os.close, fd)
        run = mmap.mmap(fd, self._run_bytes, mmap.MAP_SHARED)  # holds a duplicate of fd
        self._open.callback(run.close)
        target = self._target.copy()
        struct.pack_into("=I", target, 4, _VCPU_FEATURES)
        return Vcpu(fd, run, bytes(target))

    def create_gic(self, dist_ipa: int, redist_ipa: int) -> None:
        """A GICv3, which vCPUs with EL2 cannot do without; call it after all create_vcpu."""
        device = bytearray(struct.pack("=III", _KVM_DEV_TYPE_ARM_VGIC_V3, 0, 0))
        fcntl.ioctl(self._fd, _KVM_CREATE_DEVICE, device)
        gic: int = struct.unpack_from("=I", device, 4)[0]
        self._open.callback(os.close, gic)
        for group, attribute, value in (
            (_VGIC_GRP_ADDR, _VGIC_ADDR_DIST, ctypes.c_uint64(dist_ipa)),
            (_VGIC_GRP_ADDR, _VGIC_ADDR_REDIST, ctypes.c_uint64(redist_ipa)),
            (_VGIC_GRP_MAINT_IRQ, 0, ctypes.c_uint32(_MAINTENANCE_INTID)),
            (_VGIC_GRP_CTRL, _VGIC_CTRL_INIT, ctypes.c_uint64(0)),
        ):
            pointer = ctypes.addressof(value)
            request = struct.pack("=IIQQ", 0, group, attribute, pointer)
            fcntl.ioctl(gic, _KVM_SET_DEVICE_ATTR, request)


class Vcpu:
    """One vCPU; made by Vm.create_vcpu and closed with the VM."""

    def __init__(self, fd: int, run: mmap.mmap, target: bytes) -> None:
        self._fd = fd
        self._run = run
        self._target = target

    def initialise(self) -> None:
        """KVM_ARM_VCPU_INIT, which also gives the VM shadow MMUs for it."""
        fcntl.ioctl(self._fd, _KVM_ARM_VCPU_INIT, self._target)

    def get_register(self, register: int) -> int:
        """KVM_GET_ONE_REG of a 64-bit register."""
        value = ctypes.c_uint64()
        request = struct.pack("=QQ", register, ctypes.addressof(value))
        fcntl.ioctl(self._fd, _KVM_GET_ONE_REG, request)
        return value.value

    def set_register(self, register: int, value: int) -> None:
        """KVM_SET_ONE_REG of a 64-bit register."""
        held = ctypes.c_uint64(value)
        request = struct.pack("=QQ", register, ctypes.addressof(held))
        fcntl.ioctl(self._fd, _KVM_SET_ONE_REG, request)

    def run(self) -> Mmio:
        """KVM_RUN until the guest does MMIO; a signal only delays. Raises KvmError."""
        while True:
            try:
                fcntl.ioctl(self._fd, _KVM_RUN, 0)
            except InterruptedError:
                continue
            except OSError as error:
                raise KvmError(f"KVM_RUN failed: {error.strerror}") from None
            break
        reason: int = struct.unpack_from("=I", self._run, _RUN_EXIT_REASON)[0]
        if reason != _KVM_EXIT_MMIO:
            pc = self.get_register(REG_PC)
            raise KvmError(f"unexpected exit from the guest: reason {reason}, pc {pc:#x}")
        ipa, data, _length, is_write = struct.unpack_from("=QQI?", self._run, _RUN_MMIO)
        return Mmio(ipa, is_write, data)

    def answer(self, value: int) -> None:
        """Set what the guest's read gets (64 bits); the next run() delivers it."""
        struct.pack_into("=Q", self._run, _RUN_MMIO_DATA, value)


def _open() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        remedy = "run as root" if error.errno in (EACCES, EPERM) else "run on a KVM/arm64 host"
        raise LackError(f"{_DEVICE}: {error.strerror}: {remedy}") from None
