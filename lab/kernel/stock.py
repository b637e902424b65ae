"""Debian's own arm64 kernel for the lab: Image as packaged, and an initramfs with what it needs."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

from nvscope.lab.setup import steps, store
from nvscope.lab.setup.rootfs import GUEST, guest_apt

# Debian builds these as modules; what they depend on comes from modules.dep.
MODULES = (
    "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "9p", "9pnet_virtio",
    "ext4", "zram", "tun",
)  # fmt: skip


def _key() -> str:
    return store.digest(Path(__file__), GUEST / "init.stock")


def build() -> Path:
    """The folder with Image, config and initrd."""
    if store.path_of("stock", _key()).is_dir():
        steps.cached("stock Debian kernel")
        return store.path_of("stock", _key())
    with steps.step("stock Debian kernel") as tell:
        return store.artifact("stock", _key(), lambda folder: _make(folder, tell))


def _make(folder: Path, tell: steps.Tell) -> None:
    apt = guest_apt("stock")
    tell("fetching package lists")
    apt.update()
    tell("fetching packages")
    apt.download(["linux-image-arm64", "busybox-static"])
    unpacked = folder / "unpacked"
    # The kernel's parts are packages of their own: image, modules, base.
    for deb in [*apt.archives.glob("linux-*.deb"), *apt.archives.glob("busybox-static_*.deb")]:
        tell(f"unpacking {deb.name}")
        subprocess.run(["dpkg", "-x", deb, unpacked], check=True)
    kernel = next((unpacked / "usr/lib/modules").glob("*/vmlinuz")).parent
    tell(f"initramfs of {kernel.name}")
    _image(kernel / "vmlinuz", folder / "Image")
    shutil.copyfile(kernel / "config", folder / "config")
    _initramfs(folder, unpacked, kernel.name)
    shutil.rmtree(unpacked)
    apt.clean()


def _image(vmlinuz: Path, image: Path) -> None:
    """Debian's arm64 vmlinuz may be gzipped or raw; QEMU takes the raw Image."""
    data = vmlinuz.read_bytes()
    image.write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def _initramfs(folder: Path, unpacked: Path, release: str) -> None:
    root = folder / "initramfs"
    modules = root / "modules"
    modules.mkdir(parents=True)
    (root / "bin").mkdir()
    shutil.copyfile(unpacked / "usr/bin/busybox", root / "bin/busybox")
    shutil.copyfile(GUEST / "init.stock", root / "init")
    (root / "bin/busybox").chmod(0o755)
    (root / "init").chmod(0o755)
    order = []
    for path in _load_order(unpacked / "usr", release):
        name = path.name.split(".")[0] + ".ko"
        data = path.read_bytes()
        (modules / name).write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
        order.append(name)
    (modules / "order").write_text("".join(f"{name}\n" for name in order))
    listing = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (folder / "initrd").open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            input=listing.encode(),
            stdout=out,
            cwd=root,
            check=True,
        )
    shutil.rmtree(root)


def _load_order(base: Path, release: str) -> list[Path]:
    """The module files to load, each after those that it depends on."""
    subprocess.run(["/sbin/depmod", "-b", base, release], check=True, stderr=subprocess.DEVNULL)
    folder = base / "lib/modules" / release
    depends = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        depends[Path(file).name.split(".")[0].replace("-", "_")] = (file, needed.split())
    order: list[Path] = []
    for module in MODULES:
        if module not in depends:
            continue  # built in
        name, needs = depends[module]
        # modules.dep lists what is needed first last.
        for path in [folder / need for need in reversed(needs)] + [folder / name]:
            if path not in order:
                order.append(path)
    return order
