"""What kind of machine it is, from folders that look like its /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.probes.kernel.machine import Machine, read_machine

MIDR = "sys/devices/system/cpu/cpu0/regs/identification/midr_el1"
BOARD, MODEL = "sys/firmware/devicetree/base/compatible", "sys/firmware/devicetree/base/model"
VENDOR, PRODUCT = "sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"
QEMU_BOARD = {BOARD: "linux,dummy-virt\0", MODEL: "linux,dummy-virt\0"}

MACHINES = {
    "QEMU's TCG, cpu max": (
        {MIDR: "0x00000000000f0510\n"} | QEMU_BOARD,
        Machine("emulated", "QEMU's TCG"),
    ),
    "Arm's model": ({MIDR: "0x00000000410fd0f0\n"}, Machine("emulated", "an Arm model")),
    "guest on a Neoverse N2": (
        {MIDR: "0x00000000410fd490\n"} | QEMU_BOARD,
        Machine("virtual", "linux,dummy-virt"),
    ),
    "Xen": ({"sys/hypervisor/type": "xen\n"}, Machine("virtual", "xen")),
    "EC2": (
        {VENDOR: "Amazon EC2\n", PRODUCT: "m7g.large\n"},
        Machine("virtual", "Amazon EC2"),
    ),
    "EC2 without a hypervisor": (
        {VENDOR: "Amazon EC2\n", PRODUCT: "m7g.metal\n"},
        Machine("physical", "m7g.metal"),
    ),
    "microVM on x86": (
        {"proc/cpuinfo": "model name\t: x\nflags\t\t: fpu hypervisor lahf_lm\n"},
        Machine("virtual", "a CPU flag of x86"),
    ),
    "server with firmware tables": (
        {MIDR: "0x00000000413fd0c1\n", VENDOR: "WIWYNN\n", PRODUCT: "Mt.Jade\n"},
        Machine("physical", "Mt.Jade"),
    ),
    "board with a device tree": (
        {BOARD: "raspberrypi,5-model-b\0brcm,bcm2712\0", MODEL: "Raspberry Pi 5\0"},
        Machine("physical", "Raspberry Pi 5"),
    ),
    "container that hides /sys": ({}, Machine("unknown")),
}


@pytest.mark.parametrize("name", MACHINES)
def test_machines(tmp_path: Path, name: str) -> None:
    files, machine = MACHINES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert read_machine(tmp_path / "proc", tmp_path / "sys") == machine
