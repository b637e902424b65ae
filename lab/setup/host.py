"""What this machine must have to build and run the lab, and how it gets it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from nvscope.lab.setup import steps
from nvscope.lab.setup.apt import Apt, host_suite
from nvscope.probes.errors import LackError

# FEAT_NV2 is emulated from this QEMU on (release notes of 9.0).
QEMU_MINIMUM = (9, 0)

# What must be there -> the package that brings it. A path is looked for as such, a bare name in
# PATH and in /sbin.
NEEDS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "dpkg": "dpkg",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    "xz": "xz-utils",
    "make": "make",
    "gcc": "gcc",
    "patch": "patch",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "pahole": "dwarves",
    "python3": "python3",
    "/usr/include/gelf.h": "libelf-dev",
    "/usr/include/openssl/ssl.h": "libssl-dev",
}
CROSS_NEEDS = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu"}
# Programs for the guest's userland are linked statically against this; the kernel needs it not.
LIBC_NEEDS = (
    {"/usr/aarch64-linux-gnu/lib/libc.a": "libc6-dev-arm64-cross"}
    if platform.machine() != "aarch64"
    else {"/usr/include/stdio.h": "libc6-dev"}
)
# What unit tests try our pages, completions and manual pages with, and do without where it lacks.
TEST_NEEDS = {"chromium": "chromium", "fish": "fish", "mandoc": "mandoc", "zsh": "zsh"}


def ready(more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Install what is missing on this machine; raises LackError where that can't be done.

    more: what is needed besides, as in NEEDS.
    """
    missing = missing_packages(more)
    if not missing:
        steps.cached("tools on this machine")
        return
    if os.geteuid() != 0:
        raise LackError(
            f"this machine lacks {', '.join(missing)}: run this as root once, or install them "
            "(QEMU must be 9.0 or later, e.g. from backports)"
        )
    with steps.step(f"tools on this machine ({len(missing)} packages)"):
        _install(missing)
    left = missing_packages(more)
    if left:
        raise LackError(f"still missing after the installation: {', '.join(left)}")


def missing_packages(more: Mapping[str, str]) -> list[str]:
    """The Debian packages to install, sorted; empty where all is there. more: as for ready()."""
    cross = platform.machine() != "aarch64"
    needs = NEEDS | (CROSS_NEEDS if cross else {}) | dict(more)
    missing = {package for what, package in needs.items() if not _there(what)}
    if "qemu-system-arm" not in missing and qemu_version() < QEMU_MINIMUM:
        missing.add("qemu-system-arm")
    return sorted(missing)


def qemu_version() -> tuple[int, int]:
    """The version of the qemu-system-aarch64 in PATH, e.g. (10, 0)."""
    done = subprocess.run(
        ["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"version (\d+)\.(\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1]), int(found[2])


def _there(what: str) -> bool:
    if what.startswith("/"):
        return Path(what).exists()
    return shutil.which(what, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def _install(packages: list[str]) -> None:
    suite = host_suite()
    suites = [suite, f"{suite}-updates"]
    pins = {}
    if suite == "bookworm":  # its own QEMU is 7.2
        suites.append("bookworm-backports")
        pins = {"src:qemu": "bookworm-backports"}
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    apt = Apt("host", architecture, suites, pins=pins, on_host=True)
    apt.update()
    apt.install(packages)
    apt.clean()
