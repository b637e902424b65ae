"""What a lab host is made of, as QEMU's command line. Data and pure functions only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# The guest's own ports, forwarded from this machine's loopback.
SSH_PORT = 22
METRICS_PORT = 9810
# The serial port that stands in for a network where there is none; guest/init looks for the name.
SERIAL_NAME = "ssh"

# kernel-command-line(7) of systemd. It is not to ask who is at the console, nor to wait for a
# login there: no udev tells of the device.
SYSTEMD = (
    "init=/usr/lib/systemd/systemd systemd.unit=multi-user.target systemd.firstboot=off"
    " systemd.condition_needs_update=off systemd.mask=serial-getty@ttyAMA0.service"
)


# Each kernel that is built here has one of the two; it takes no notice of the other.
REVMAP_OFF = "kvm-arm.nested_revmap=0 kvm-arm.guest_s2_tracking=0"
ON_DISK = "root=/dev/vda rw rootfstype=ext4"
IN_MEMORY = "rdinit=/usr/sbin/init"


@dataclass(frozen=True)
class Machine:
    """An emulated FEAT_NV2 arm64 host.

    kernel_mode: the value of kvm-arm.mode= on its command line ("nested", or "vhe" for a host
    that runs no nested guests). icount: one guest instruction is one virtual nanosecond, so that
    durations are instruction counts (needs cpus=1). lpa2: FEAT_LPA2, with which KVM's IPA
    spaces have 52 bits, not 48, and a full shadow unmap walks 16 times as far. revmap: a kernel
    that is built here uses its nested reverse map; others have none to turn off. systemd: it is the
    first process, and the lab's own set-up one of its services. in_memory: the initrd is the root
    file system, for a kernel without drivers for disk, network and 9p: there are no such devices,
    and ssh comes in over a serial port, one connection at a time. foreign: a user's kernel,
    of which nobody knows what it lacks.
    """

    kernel: Path
    initrd: Path | None = None
    cpus: int = 2
    memory_mib: int = 4096
    kernel_mode: str = "nested"
    icount: bool = False
    append: str = ""
    lpa2: bool = False
    revmap: bool = True
    systemd: bool = False
    in_memory: bool = False
    foreign: bool = False


@dataclass(frozen=True)
class Share:
    """A folder of this machine that the guest sees by its tag: over 9p, or a copy in memory."""

    tag: str
    path: Path


def kernel_command_line(machine: Machine) -> str:
    """The kernel's arguments; an oops ends the guest, so that it is seen at once."""
    words = [
        IN_MEMORY if machine.in_memory else ON_DISK,
        "console=ttyAMA0 panic=-1 oops=panic",
        # An emulated CPU may need longer than 21 s for one full unmap: no stall, and no complaint.
        "rcupdate.rcu_cpu_stall_timeout=300",
        f"kvm-arm.mode={machine.kernel_mode}",
        "" if machine.revmap else REVMAP_OFF,
        SYSTEMD if machine.systemd else "",
        machine.append,
    ]
    return " ".join(word for word in words if word)


def qemu_arguments(
    machine: Machine, root: Path, shares: list[Share], console: Path, ports: dict[int, int]
) -> list[str]:
    """QEMU's command line. ports: guest port -> port on this machine's 127.0.0.1.

    In memory, root and shares are what the initrd has already, and only SSH_PORT is forwarded.
    """
    accel = "tcg,thread=single" if machine.icount else "tcg,thread=multi"
    arguments = [
        "qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-reboot",
        "-M", "virt,virtualization=on,gic-version=3",
        # pauth's architected algorithm costs half of the emulation's time.
        "-cpu", f"max,pauth-impdef=on,lpa2={'on' if machine.lpa2 else 'off'}",
        "-accel", accel, "-smp", str(machine.cpus), "-m", str(machine.memory_mib),
        "-kernel", str(machine.kernel), "-append", kernel_command_line(machine),
        "-serial", f"file:{console}", "-monitor", "none",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    if machine.icount:
        arguments += ["-icount", "shift=0,sleep=off"]
    if machine.initrd:
        arguments += ["-initrd", str(machine.initrd)]
    if machine.in_memory:
        return arguments + _serial(ports[SSH_PORT])
    return arguments + _disk(root) + _network(ports) + _virtfs(shares)


def _disk(root: Path) -> list[str]:
    # With a snapshot, writes go to a temporary file that QEMU has already unlinked.
    drive = f"file={root},format=raw,if=none,id=root,snapshot=on"
    return ["-drive", drive, "-device", "virtio-blk-pci,drive=root"]


def _network(ports: dict[int, int]) -> list[str]:
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in ports.items())
    # No ROM: it belongs to a package that booting from -kernel does not need.
    device = "virtio-net-pci,netdev=net,romfile="
    return ["-netdev", f"user,id=net,restrict=on{forwards}", "-device", device]


def _virtfs(shares: list[Share]) -> list[str]:
    arguments = []
    for share in shares:
        arguments += [
            "-virtfs",
            f"local,path={share.path},mount_tag={share.tag},security_model=none,readonly=on,"
            "multidevs=remap",
        ]
    return arguments


def _serial(port: int) -> list[str]:
    return [
        "-chardev", f"socket,id=ssh,host=127.0.0.1,port={port},server=on,wait=off",
        "-device", "virtio-serial-pci",
        "-device", f"virtserialport,chardev=ssh,name={SERIAL_NAME}",
    ]  # fmt: skip
