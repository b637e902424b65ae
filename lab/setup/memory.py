"""A root file system in the guest's memory: for kernels that come without drivers for disks.

It is the root image's content as an archive that the kernel unpacks into a tmpfs, without what such
a host does not use; a second archive, made at each boot, has what other hosts see over 9p.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from nvscope.lab.host.machine import Share
from nvscope.lab.setup import cpio, steps, store
from nvscope.probes.errors import LackError

NAME = "root.cpio"
# What its host does without, as patterns: two thirds of the image.
UNUSED = (
    # QEMU, its firmware, what else brings guests of its own
    "usr/bin/qemu-*", "usr/share/qemu*", "usr/share/seabios", "usr/lib/*/qemu",
    # other tracers, and the kernel headers and compiler that bpfcc-tools wants
    "usr/sbin/*-bpfcc", "usr/share/bpfcc-tools", "usr/bin/bpftrace*", "usr/bin/perf*",
    "usr/lib/perf-core", "usr/libexec/perf-core", "usr/lib/python3/dist-packages/perf.*",
    "usr/lib/*/libclang-19.so*", "usr/lib/*/libcapstone.so*", "usr/lib/*/libopencsd*",
    "usr/src", "usr/lib/linux-kbuild-*", "usr/lib/modules/*", "usr/libexec/gcc", "usr/lib/gcc",
    "usr/bin/*-linux-gnu-*", "usr/lib/*/lib?san.so*", "usr/lib/*/libhwasan.so*",
    "usr/lib/*/ldscripts", "usr/lib/*/libbfd*", "usr/lib/*/libopcodes*", "usr/lib/*/libisl.so*",
    # what starts other hosts
    "usr/lib/systemd", "usr/lib/*/systemd", "usr/lib/udev",
    # what nothing here is written in or asks for
    "usr/bin/perl*", "usr/share/perl*", "usr/lib/*/perl*", "usr/lib/*/libperl.so*",
    "usr/lib/*/gconv", "usr/share/ieee-data", "usr/share/zoneinfo",
    "usr/lib/python3/dist-packages/pyarrow/*flight*",
    "usr/lib/python3/dist-packages/pyarrow/*_s3*",
)  # fmt: skip
# What of a checkout is no part of its code; the kernel for a Linux guest, which needs QEMU.
NOT_SHARED = ("build", "__pycache__", "Image")


def build(rootfs: Path) -> Path:
    """The archive of a root image's content. rootfs: the folder of setup/rootfs.py."""
    key = store.digest(rootfs.name, Path(__file__), Path(cpio.__file__))
    if store.path_of("memory", key).is_dir():
        steps.cached("guest's root file system for memory")
        return store.path_of("memory", key) / NAME
    with steps.step("guest's root file system for memory"):
        return store.artifact("memory", key, lambda folder: _make(folder, rootfs)) / NAME


def initrd(root: Path, shares: Iterable[Share], into: Path) -> None:
    """Write what QEMU loads: a root archive, and the folders to be seen below /mnt."""
    with into.open("wb") as out:
        with root.open("rb") as archive:
            shutil.copyfileobj(archive, out)
        cpio.write(out, (file for share in shares for file in shared(share)))


def shared(share: Share) -> Iterator[tuple[str, Path]]:
    """The files of a folder at their places in the guest; of installed code, only ours."""
    place = f"mnt/{share.tag}"
    package = share.path / "nvscope"
    if package.is_dir() and not (share.path / "setup.cfg").exists():
        yield place, share.path
        yield from cpio.tree(package, f"{place}/nvscope", NOT_SHARED)
        return
    # What begins with a dot is no code: repositories, environments, caches of tools.
    hidden = {path.name for path in share.path.iterdir() if path.name.startswith(".")}
    yield from cpio.tree(share.path, place, {*NOT_SHARED, *hidden})


def prune(root: Path) -> None:
    """Drop from a folder what is not used."""
    for pattern in UNUSED:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _make(folder: Path, rootfs: Path) -> None:
    root = folder / "root"
    root.mkdir()
    _unpack(rootfs / "root.ext4", root)
    prune(root)
    with (folder / NAME).open("wb") as out:
        cpio.write(out, cpio.tree(root))
    shutil.rmtree(root)


def _unpack(image: Path, root: Path) -> None:
    """Copy all that is in an ext4 image, without mounting it."""
    command = ["/sbin/debugfs", "-R", f'rdump / "{root}"', str(image)]
    # Its exit status tells nothing, and it complains where files cannot be given to root.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not (root / "usr/sbin/init").exists():
        raise LackError(f"{image} cannot be unpacked: {done.stderr.strip()[-500:]}")
    (root / "lost+found").rmdir()
