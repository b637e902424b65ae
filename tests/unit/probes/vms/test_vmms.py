"""What each VMM's command line calls its VM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.probes.vms import names
from nvscope.probes.vms.vmms import VMMS

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
        # KubeVirt, by libvirt: namespace and name.
        (
            f"/usr/libexec/qemu-kvm -name guest=shop_db,debug-threads=on -uuid {UUID} -m size=4G",
            "shop_db",
            UUID,
        ),
        # OpenStack, by libvirt: what Nova calls an instance.
        (
            f"/usr/bin/qemu-system-aarch64 -name guest=instance-0000002a,debug-threads=on"
            f" -S -machine virt,usb=off -uuid {UUID}",
            "instance-0000002a",
            UUID,
        ),
        # Proxmox: the uuid is the firmware's, beside other things that the firmware is told.
        (
            "/usr/bin/kvm -id 104 -name mail,debug-threads=on -no-shutdown"
            f" -smbios type=1,uuid={UUID} -smbios type=11,value=x -daemonize",
            "mail",
            UUID,
        ),
        (f"/usr/bin/kvm -id 104 -smbios type=3,uuid=x -smbios uuid={UUID},type=1", "104", UUID),
        # Incus.
        (
            f"/opt/incus/bin/qemu-system-aarch64 -S -name web-1 -uuid {UUID} -daemonize -cpu host",
            "web-1",
            UUID,
        ),
        # -name may be there twice, and is then added up.
        ("qemu-system-aarch64 -name db -name debug-threads=on", "db", ""),
        # Kata containers, with each VMM.
        (
            f"/opt/kata/bin/qemu-system-aarch64 -name sandbox-4d1f,debug-threads=on -uuid {UUID}",
            "sandbox-4d1f",
            UUID,
        ),
        ("/opt/kata/bin/cloud-hypervisor --api-socket /run/vc/vm/4d1f/clh-api.sock", "4d1f", ""),
        ("cloud-hypervisor --api-socket /run/kata/4d1f/root/ch-api.sock -v", "4d1f", ""),
        (
            "/opt/kata/bin/firecracker"
            " --api-sock /run/vc/firecracker/4d1f/root/run/firecracker.socket"
            " --config-file /run/vc/firecracker/4d1f/root/fcConfig.json",
            "4d1f",
            "",
        ),
        ("/firecracker --id 4d1f --start-time-us 7 --config-file /fcConfig.json", "4d1f", ""),
        (
            "/opt/kata/bin/containerd-shim-kata-v2 -namespace k8s.io -address"
            " /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id 4d1f -debug",
            "4d1f",
            "",
        ),
        # libvirt keeps the socket's path to itself.
        (
            "cloud-hypervisor --api-socket fd=25"
            " --event-monitor path=/run/libvirt/ch/web-1-event-monitor-fifo",
            "web-1",
            "",
        ),
        ("cloud-hypervisor --event-monitor=path=/run/vm/web/events.json", "web", ""),
        ("cloud-hypervisor --api-socket fd=3 --event-monitor fd=4", "vmm", ""),
        (f"cloud-hypervisor --api-socket=/var/lib/orch/{UUID}/ch.sock", UUID, UUID),
        # flintlock.
        (
            "cloud-hypervisor --api-socket /var/lib/flintlock/vm/ns/web/7f2/cloudhypervisor.sock",
            "7f2",
            "",
        ),
        # ChromeOS, and Android's virtualizationservice.
        (
            "/usr/bin/crosvm run --cpus 4 --socket /run/vm/vm.Tq7h/crosvm.sock vmlinux",
            "vm.Tq7h",
            "",
        ),
        (
            "crosvm --extended-status run --cid 2050 --name microdroid"
            " --socket /data/misc/virtualizationservice/2050/crosvm.sock",
            "microdroid",
            "",
        ),
        # microvm.nix, which names all its processes alike; sockets lie in the VM's own folder.
        ("microvm@web --cpus boot=2 --api-socket control.sock", "web", ""),
        ("microvm@web -name web -M virt -m 512", "web", ""),
        # firectl, and E2B; a socket is enough.
        ("firecracker --api-sock /tmp/.firecracker.sock-4711-81", "vmm", ""),
        ("/fc-versions/v1.10/firecracker --api-sock /tmp/fc-i8x2-q1.sock", "fc-i8x2-q1", ""),
        ("firecracker --api-sock=/srv/web.socket", "web", ""),
        ("firecracker --api-sock /run/user/1000/firecracker.socket", "vmm", ""),
        ("firecracker --api-sock /tmp/api.sock --config-file vm.json", "vmm", ""),
        (f"firecracker --api-sock /srv/jailer/firecracker/{UUID}/root/run/api.socket", UUID, UUID),
        # What is behind "--" is for another.
        ("firecracker --api-sock /tmp/web.sock -- --id x", "web", ""),
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


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("cloud-hyperviso", ""),  # cut by the kernel to 15 bytes; the file may not be looked at
        ("vmm", "/nix/store/7q-cloud-hypervisor-48.0/bin/cloud-hypervisor"),
        ("vmm", "/usr/bin/cloud-hypervisor (deleted)"),  # upgraded under a running VM
        ("vmm", "/nix/store/7q-cloud-hypervisor-48.0/bin/.cloud-hypervisor-wrapped"),
    ],
)
def test_a_vmm_under_any_name_is_known_by_its_file(command: str, file: str) -> None:
    words = ["web vm", "--api-socket", "/run/db.sock", "--platform", f"uuid={UUID}"]
    assert names.vm_name(words, command, file) == "db"
    assert names.vm_uuid(words, command, file) == UUID


def test_another_process_of_fifteen_bytes_is_no_vmm() -> None:
    assert names.vm_name(["vm", "-name", "db"], "a" * 15) == "db"
    assert names.vm_name(["vm", "-name", "db"], "") == "db"


def test_a_file_goes_before_what_a_process_is_called() -> None:
    words = ["crosvm", "-name", "guest=db", "-s", "/run/web.sock"]
    assert names.vm_name(words, "crosvm", "/usr/bin/qemu-system-aarch64") == "db"
    assert names.vm_name(words, "crosvm", "/usr/bin/python3.13") == "guest=db"


_OPTIONS = sorted(
    {name for vmm in VMMS for place in vmm.names + vmm.uuids for name in place.options}
)
# What paths and lists are made of, and bytes that are no text.
_values = st.one_of(
    st.text("/-_.,=@ ab9\udcff\n", max_size=40),
    st.lists(st.sampled_from(["/run", "/api.sock", "path=", "fd=", ",,", "uuid=", UUID])).map(
        "".join
    ),
)


@given(
    st.sampled_from([vmm.program for vmm in VMMS]),
    st.lists(
        st.tuples(st.sampled_from(_OPTIONS), st.sampled_from([" ", "="]), _values), max_size=4
    ),
)
def test_any_value_of_any_vmms_options_makes_a_safe_name(
    program: str, given_options: list[tuple[str, str, str]]
) -> None:
    words = [program]
    for option, between, value in given_options:
        words += [f"--{option}={value}"] if between == "=" else [f"--{option}", value]
    label = names.vm_name(words, "vmm")
    assert 0 < len(label) <= names.NAME_LIMIT and label.isprintable()
    label.encode()  # no surrogates
    assert len(names.vm_uuid(words)) in (0, 36)
