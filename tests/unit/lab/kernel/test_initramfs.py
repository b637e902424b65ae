"""What is taken out of a kernel's packages, and in which order modules are loaded."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pytest

from nvscope.lab.kernel import initramfs, unpack
from nvscope.probes.errors import LackError
from tests.unit.lab.kernel.packages.fake_archive import release


def modules(folder: Path, dependencies: str, built_in: str = "") -> Path:
    """A /usr with what depmod writes; the function that runs it is to be replaced."""
    place = folder / "usr/lib/modules/1.0"
    place.mkdir(parents=True)
    (place / "modules.dep").write_text(dependencies)
    (place / "modules.builtin").write_text(built_in)
    return folder / "usr"


@pytest.fixture
def no_depmod(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr("subprocess.run", nothing)


@pytest.mark.usefixtures("no_depmod")
def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    usr = modules(
        tmp_path,
        "kernel/9p.ko.xz: kernel/9pnet.ko.xz kernel/netfs.ko.xz\n"
        "kernel/9pnet.ko.xz:\nkernel/netfs.ko.xz:\nkernel/virtio-rng.ko.xz:\n"
        "kernel/9pnet_virtio.ko.xz: kernel/9pnet.ko.xz\nkernel/virtio_net.ko.xz:\n",
        "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/fs/ext4.ko\n",
    )
    names_of = [path.name.removesuffix(".ko.xz") for path in initramfs.load_order(usr, "1.0")]
    assert names_of == ["virtio_net", "netfs", "9pnet", "9p", "9pnet_virtio", "virtio-rng"]


@pytest.mark.usefixtures("no_depmod")
def test_a_kernel_without_a_driver_that_is_needed_is_refused(tmp_path: Path) -> None:
    built_in = "".join(f"kernel/{name}.ko\n" for name in initramfs.NEEDED if "9p" not in name)
    usr = modules(tmp_path, "kernel/zram.ko.xz:\n", built_in)
    with pytest.raises(LackError, match=r"kernel 1\.0: it has no driver 9p, 9pnet_virtio$"):
        initramfs.load_order(usr, "1.0")


def test_modules_are_decompressed(tmp_path: Path) -> None:
    for name, data in (("a.ko", b"elf"), ("b.ko.xz", lzma.compress(b"elf"))):
        (tmp_path / name).write_bytes(data)
        assert initramfs._decompressed(tmp_path / name) == b"elf"
    (tmp_path / "c.ko.new").touch()
    with pytest.raises(LackError, match=r"c\.ko\.new"):
        initramfs._decompressed(tmp_path / "c.ko.new")


@pytest.mark.parametrize("place", ["boot/{0}-{1}", "usr/lib/modules/{1}/{0}"])
def test_image_and_configuration_are_found_in_old_and_new_places(
    tmp_path: Path, place: str
) -> None:
    kernel = release("7.3.4+deb13-arm64")
    path = tmp_path / place.format("vmlinuz", kernel.name)
    path.parent.mkdir(parents=True)
    path.touch()
    assert unpack.part(tmp_path, kernel, "vmlinuz") == path
    with pytest.raises(LackError, match="have no config"):
        unpack.part(tmp_path, kernel, "config")
