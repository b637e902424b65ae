"""What each VMM's command line calls its VM."""

from __future__ import annotations

import pytest

from nvscope.probes import names

UUID = "551e7604-e35c-42b3-b825-416853441234"


@pytest.mark.parametrize(
    ("cmdline", "name", "uuid"),
    [
        # libvirt 9 starts QEMU so.
        (
            f"/usr/bin/qemu-system-aarch64 -name guest=web,,1,debug-threads=on -S -uuid {UUID}",
            "web,1",
            UUID,
        ),
        ("/usr/libexec/qemu-kvm -name db", "db", ""),
        ("/usr/bin/crosvm run --disable-sandbox --name arcvm -s /run/a.sock vmlinux", "arcvm", ""),
        ("crosvm --log-level=debug run -s /run/crosvm/b.sock vmlinux", "b", ""),
        ("crosvm run --socket=/run/c.sock vmlinux", "c", ""),
        ("crosvm run vmlinux", "vmm", ""),
        (
            f"cloud-hypervisor --api-socket /run/ch/db.sock --platform tdx=on,uuid={UUID}",
            "db",
            UUID,
        ),
        (f"cloud-hypervisor-static --platform system_uuid={UUID},uuid=x", "vmm", UUID),
        ("cloud-hypervisor --api-socket path=/run/ch/web.a.sock", "web.a", ""),
        ("cloud-hypervisor --api-socket fd=3 --kernel vmlinux", "vmm", ""),
        # By the jailer, in its folder.
        (f"/firecracker --id {UUID} --start-time-us 1 --api-sock /run/f.sock", UUID, UUID),
        ("firecracker-v1.7.0-aarch64 --id vm-7 --no-api", "vm-7", ""),
        # -n is a network there.
        ("lkvm run -n mode=user --name guest-a -k Image", "guest-a", ""),
        ("lkvm run -n mode=user", "vmm", ""),
        (f"python3 main.py -name vmA --uuid={UUID}", "vmA", UUID),
    ],
)
def test_by_command_line(cmdline: str, name: str, uuid: str) -> None:
    words = cmdline.split()
    assert names.vm_name(words, "vmm") == name
    assert names.vm_uuid(words, "vmm") == uuid


def test_a_program_by_another_name_is_known_by_its_own() -> None:
    words = ["vm", "--id", "7", "-name", "guest=x"]
    assert names.vm_name(words, "firecracker") == "7"
    assert names.vm_name(words, "vmm") == "x"
    assert names.vm_uuid(["vm", "--id", UUID], "firecracker") == UUID
