"""What the lab takes out of a kernel's packages: Image, config, and modules for an initramfs."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from nvscope.lab.kernel import initramfs
from nvscope.lab.kernel.names import Release
from nvscope.probes.errors import LackError


def all_of(release: Release, debs: Iterable[Path], folder: Path) -> None:
    """Make Image, config and initrd in a folder; busybox is among the packages, which go."""
    unpacked = _unpacked(debs, folder)
    write_image(part(unpacked, release, "vmlinuz"), folder / "Image")
    shutil.copyfile(part(unpacked, release, "config"), folder / "config")
    initramfs.make(unpacked / "usr", release.name, folder / "initrd")
    shutil.rmtree(unpacked)


def image_of(release: Release, debs: Iterable[Path], folder: Path) -> None:
    """Make the Image alone in a folder; the packages go."""
    unpacked = _unpacked(debs, folder)
    write_image(part(unpacked, release, "vmlinuz"), folder / "Image")
    shutil.rmtree(unpacked)


def part(unpacked: Path, release: Release, name: str) -> Path:
    """A file of the kernel's: in /boot up to 7.1, beside the modules from 7.2 on."""
    places = (f"boot/{name}-{release.name}", f"usr/lib/modules/{release.name}/{name}")
    for place in places:
        if (unpacked / place).is_file():
            return unpacked / place
    raise LackError(f"Debian's packages of the kernel {release.name} have no {name}")


def write_image(vmlinuz: Path, image: Path) -> None:
    """Debian's arm64 vmlinuz may be gzipped or raw; QEMU takes the raw Image."""
    data = vmlinuz.read_bytes()
    image.write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def _unpacked(debs: Iterable[Path], folder: Path) -> Path:
    unpacked = folder / "unpacked"
    for deb in debs:
        subprocess.run(["dpkg", "-x", deb, unpacked], check=True)
        deb.unlink()
    return unpacked
