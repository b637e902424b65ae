"""Kernels that a user gives as they are: their forms, what is built in, and how they boot."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from nvscope.lab import assets
from nvscope.lab.host.machine import Machine
from nvscope.lab.kernel import given, image
from nvscope.lab.kernel.subject import Subject
from nvscope.probes.errors import InputError, LackError

DRIVERS = b"".join([*image.DISK_DRIVERS.values(), *image.SERIAL_DRIVERS.values()])
REVMAP = assets.REVMAP_PARAMETERS[0].encode() + b"\0"


def kernel(*texts: bytes) -> bytes:
    """A raw Image, as far as anyone looks at it."""
    return b"\0" * image.MAGIC_AT + image.MAGIC + b"\0" * 64 + b"".join(texts) + b"\0"


def zboot(payload: bytes, how: bytes = b"gzip") -> bytes:
    header = struct.pack("<4s4sII8x8s", b"MZ\0\0", b"zimg", 64, len(payload), how)
    return header.ljust(64, b"\0") + payload + b"\0" * 100


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Image"


@pytest.mark.parametrize(
    "form",
    [
        lambda data: data,
        gzip.compress,
        lambda data: gzip.compress(data) + b"\0" * 16,
        lzma.compress,
        lambda data: zboot(gzip.compress(data)),
        lambda data: gzip.compress(zboot(gzip.compress(data))),
    ],
    ids=["Image", "Image.gz", "padded", "Image.xz", "vmlinuz.efi", "vmlinuz.efi.gz"],
)
def test_forms(form: object, path: Path) -> None:
    assert callable(form)
    path.write_bytes(form(kernel(b"text")))
    assert image.raw(path) == kernel(b"text")


@pytest.mark.skipif(not shutil.which("zstd"), reason="this machine has no zstd")
def test_zstd(path: Path) -> None:
    packed = subprocess.run(["zstd", "-qc"], input=kernel(), capture_output=True, check=True).stdout
    path.write_bytes(packed)
    assert image.raw(path) == kernel()


def test_zstd_without_its_program(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    path.write_bytes(b"\x28\xb5\x2f\xfdx")
    with pytest.raises(LackError, match="install zstd"):
        image.raw(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "give an Image, Image.gz or vmlinuz"),
        (b"x" * 4096, "give an Image, Image.gz or vmlinuz"),
        (b"\x7fELF" + b"\0" * 1000, "an ELF file such as vmlinux"),
        (b"\0" * 0x202 + b"HdrS" + b"\0" * 100, "but a kernel for x86"),
        (b"!<arch>\n" + b"\0" * 1000, "give the vmlinuz in it"),
        (gzip.compress(b"text", mtime=0), "give an Image, Image.gz or vmlinuz"),
        (gzip.compress(kernel(), mtime=0)[:20], "its end is missing"),
        (b"\x1f\x8b" + b"x" * 100, "cannot be unpacked: Error -3"),
        (b"MZ\0\0zimg", "cannot be unpacked"),
    ],
)
def test_what_is_no_kernel(data: bytes, said: str, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as error:
        image.raw(path)
    assert error.value.message.startswith(str(path))


def test_one_with_drivers_for_a_disk_boots_from_it(path: Path) -> None:
    path.write_bytes(gzip.compress(kernel(DRIVERS)))
    name, machine = given.get(path, None)
    assert (machine.in_memory, machine.initrd, machine.foreign) == (False, None, True)
    assert machine.kernel.read_bytes() == kernel(DRIVERS)
    assert name == assets.identity(Subject(image=path))


@pytest.mark.parametrize("driver", image.DISK_DRIVERS)
def test_one_without_boots_from_memory(
    driver: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(kernel(DRIVERS.replace(image.DISK_DRIVERS[driver], b"")))
    assert given.get(path, None)[1].in_memory
    assert f"has no {driver} built in: its root file system is in memory" in capsys.readouterr().err


def test_one_that_can_do_neither_is_refused(path: Path) -> None:
    path.write_bytes(kernel())
    with pytest.raises(LackError, match=r"has neither virtio_blk, .* nor virtio_console"):
        given.get(path, None)


def test_an_initrd_brings_drivers(path: Path, tmp_path: Path) -> None:
    path.write_bytes(kernel())
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"0707")
    name, machine = given.get(path, initrd)
    assert not machine.in_memory
    assert machine.initrd and machine.initrd.read_bytes() == b"0707"
    assert name == assets.identity(Subject(image=path, initrd=initrd))
    assert name != assets.identity(Subject(image=path))


def test_what_is_booted_is_what_was_given(path: Path) -> None:
    path.write_bytes(kernel(DRIVERS))
    name, machine = given.get(path, None)
    path.write_bytes(kernel(DRIVERS, b"newer"))
    assert machine.kernel.read_bytes() == kernel(DRIVERS)
    assert given.get(path, None)[0] != name


def test_a_reverse_map_that_is_spoken_of_must_be_there(path: Path) -> None:
    path.write_bytes(kernel(DRIVERS))
    name, machine = given.get(path, None)
    ready = assets.Assets(name, machine, path, path)
    for ask in (ready.require_revmap, lambda: ready.boot(revmap=False)):
        with pytest.raises(
            InputError,
            match=r"kvm_arm\.guest_s2_tracking\); --kernel lab has one",
        ):
            ask()
    path.write_bytes(kernel(DRIVERS, REVMAP))
    name, machine = given.get(path, None)
    assets.Assets(name, machine, path, path).require_revmap()


def test_a_linux_guest_wants_9p_built_in(path: Path, tmp_path: Path) -> None:
    path.write_bytes(kernel(DRIVERS))
    ready = assets.Assets("image 01", Machine(path), path, tmp_path)
    ready.require_linux()
    path.write_bytes(kernel(DRIVERS.replace(image.SHARE_DRIVERS["9p"], b"")))
    with pytest.raises(LackError, match=r"cannot be its own Linux guest.*: 9p is not built in"):
        ready.require_linux()


def test_a_parameter_is_not_found_by_its_beginning(path: Path) -> None:
    path.write_bytes(kernel(b"kvm_arm.nested_revmap_bug\0"))
    assert not image.has_parameter(path, "kvm_arm.nested_revmap")
    assert image.has_parameter(path, "kvm_arm.nested_revmap_bug")
