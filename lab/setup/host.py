"""What this machine must have to build and run the lab, and how it gets it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from nvscope.lab.setup import steps
from nvscope.lab.setup.apt import Apt, host_suite, native_architecture
from nvscope.probes.errors import LackError

# FEAT_NV2 is emulated from this QEMU on (release notes of 9.0).
QEMU_MINIMUM = (9, 0)

Needs = dict[str, str]
CROSS = "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"

# What must be there -> the package that brings it. A path is looked for as such, a bare name in
# PATH and in /sbin. These are what any lab needs to be prepared and booted:
NEEDS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "dpkg": "dpkg",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    f"{CROSS}as": "binutils-aarch64-linux-gnu" if CROSS else "binutils",
}
# And these to build a kernel.
BUILD_NEEDS = {
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
    f"{CROSS}gcc": "gcc-aarch64-linux-gnu" if CROSS else "gcc",
}
# Programs for the guest's userland are linked statically against this; the kernel needs it not.
LIBC_NEEDS = (
    {"/usr/aarch64-linux-gnu/lib/libc.a": "libc6-dev-arm64-cross"}
    if CROSS
    else {"/usr/include/stdio.h": "libc6-dev"}
)
# A tree that git knows is asked what has changed in it.
GIT_NEEDS = {"git": "git"}
# What unit tests try our pages, completions and manual pages with, and do without where it lacks.
TEST_NEEDS = {"chromium": "chromium", "fish": "fish", "mandoc": "mandoc", "zsh": "zsh"}


def ready(*more: Needs) -> None:
    """Install what is missing on this machine; raises LackError where that can't be done.

    more: what is needed besides NEEDS.
    """
    missing = missing_packages(*more)
    if not missing:
        steps.cached("tools on this machine")
        return
    require_root(missing)
    with steps.step(f"tools on this machine ({len(missing)} packages)"):
        _install(missing)
    left = missing_packages(*more)
    if left:
        raise LackError(f"still missing after the installation: {', '.join(left)}")


def require_root(missing: list[str]) -> None:
    """Raises LackError where these packages are to be installed, and we may not."""
    if missing and os.geteuid() != 0:
        raise LackError(
            f"this machine lacks {', '.join(missing)}: run this as root once, or install them "
            "(QEMU must be 9.0 or later, e.g. from backports)"
        )


def missing_packages(*more: Needs) -> list[str]:
    """The Debian packages to install, sorted; empty where all is there. more: as for ready()."""
    needs = dict(NEEDS)
    for each in more:
        needs |= each
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
    apt = Apt("host", native_architecture(), suites, pins=pins, on_host=True)
    apt.update()
    apt.install(packages)
    apt.clean()
