"""The initramfs of a packaged kernel: busybox, and the modules that the root file system needs."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

from nvscope.lab.setup.rootfs import GUEST
from nvscope.probes.errors import LackError

INIT = GUEST / "init.stock"
# Debian builds these as modules; what they depend on comes from modules.dep.
NEEDED = ("virtio_pci", "virtio_blk", "virtio_net", "9p", "9pnet_virtio", "ext4")
USEFUL = ("virtio_console", "virtio_rng", "zram", "tun")
MODULES = (*NEEDED, *USEFUL)


def make(usr: Path, release: str, into: Path) -> None:
    """Write the initramfs. usr: what the packages have below /usr; into: the file."""
    root = usr.parent / "initramfs"
    modules = root / "modules"
    modules.mkdir(parents=True)
    (root / "bin").mkdir()
    shutil.copyfile(usr / "bin/busybox", root / "bin/busybox")
    shutil.copyfile(INIT, root / "init")
    (root / "bin/busybox").chmod(0o755)
    (root / "init").chmod(0o755)
    order = []
    for path in load_order(usr, release):
        name = path.name.split(".")[0] + ".ko"
        (modules / name).write_bytes(_decompressed(path))
        order.append(name)
    (modules / "order").write_text("".join(f"{name}\n" for name in order))
    _pack(root, into)
    shutil.rmtree(root)


def load_order(usr: Path, release: str) -> list[Path]:
    """The module files to load, each after those that it depends on.

    Raises LackError where the kernel has no driver that the lab cannot do without.
    """
    subprocess.run(["/sbin/depmod", "-b", usr, release], check=True, stderr=subprocess.DEVNULL)
    folder = usr / "lib/modules" / release
    depends = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        depends[_module(file)] = (file, needed.split())
    built_in = {_module(line) for line in (folder / "modules.builtin").read_text().splitlines()}
    missing = [name for name in NEEDED if name not in depends and name not in built_in]
    if missing:
        raise LackError(
            f"the lab cannot boot the kernel {release}: it has no driver {', '.join(missing)}"
        )
    order: list[Path] = []
    for name, needs in (depends[module] for module in MODULES if module in depends):
        # modules.dep lists what is needed first last.
        for path in [folder / need for need in reversed(needs)] + [folder / name]:
            if path not in order:
                order.append(path)
    return order


def _module(file: str) -> str:
    """
    >>> _module("kernel/drivers/char/hw_random/virtio-rng.ko.xz")
    'virtio_rng'
    """
    return Path(file).name.split(".")[0].replace("-", "_")


def _decompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".ko":
        return data
    raise LackError(f"the lab cannot decompress the kernel's modules ({path.name})")


def _pack(root: Path, into: Path) -> None:
    listing = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with into.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            input=listing.encode(),
            stdout=out,
            cwd=root,
            check=True,
        )
