"""A kernel image that a user gives: what form it has, and what is built into it.

Documentation/arch/arm64/booting.rst of Linux has the header; the forms are those of arch/arm64/boot
(Image, Image.gz and others) and of EFI's zboot (drivers/firmware/efi/libstub/zboot-header.S).
"""

from __future__ import annotations

import lzma
import mmap
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

from nvscope.probes.errors import InputError, LackError

MAGIC, MAGIC_AT = b"ARMd", 0x38
_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_ZBOOT = b"zimg"  # at 4; then where its payload is, and how long; at 24 how it is compressed
_ZBOOT_HEADER = struct.Struct("<4x4sII8x8s")
# What else a user may have at hand: where its mark is, the mark, what it is.
_OTHERS = (
    (0, b"\x7fELF", "an ELF file such as vmlinux: give arch/arm64/boot/Image"),
    (0x202, b"HdrS", "a kernel for x86"),
    (0x24, b"\x18\x28\x6f\x01", "a kernel for 32-bit Arm"),
    (0, b"!<arch>", "an archive such as a .deb: give the vmlinuz in it"),
)

# What stands in a kernel only where a driver is built into it: driver -> text. The names of
# drivers end in a zero byte there; the file systems' own are named elsewhere too.
SHARE_DRIVERS = {"9pnet_virtio": b"9pnet_virtio\0", "9p": b"9P2000.L"}
DISK_DRIVERS = {
    "virtio_blk": b"virtio_blk\0",
    "virtio_net": b"virtio_net\0",
    "ext4": b"EXT4-fs error",
    **SHARE_DRIVERS,
}
SERIAL_DRIVERS = {"virtio_console": b"virtio_console\0"}


def raw(path: Path) -> bytes:
    """The kernel as it is in memory, out of whatever form. Raises InputError, LackError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    for _ in range(4):  # a zboot may be compressed as a whole, and its payload is
        if data[MAGIC_AT : MAGIC_AT + 4] == MAGIC:
            return data
        unpacked = _unpacked(path, data)
        if unpacked is None:
            break
        data = unpacked
    for at, mark, what in _OTHERS:
        if data[at : at + len(mark)] == mark:
            raise InputError(f"{path} is no arm64 kernel image but {what}")
    raise InputError(f"{path} is no arm64 kernel image: give an Image, Image.gz or vmlinuz")


def has(image: Path, text: bytes) -> bool:
    """Whether a raw Image has this in it."""
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(text) >= 0


def has_parameter(image: Path, name: str) -> bool:
    """Whether a raw Image has a parameter that is built in, such as kvm_arm.nested_revmap."""
    return has(image, f"{name}\0".encode())


def lacks(image: Path, drivers: dict[str, bytes]) -> list[str]:
    """Those of the drivers that are not built in."""
    return [name for name, text in drivers.items() if not has(image, text)]


def _unpacked(path: Path, data: bytes) -> bytes | None:
    """What is compressed in it, or None; by its content, for names tell nothing."""
    try:
        if data[4:8] == _ZBOOT:
            _, start, size, _ = _ZBOOT_HEADER.unpack_from(data)
            return data[start : start + size]
        # Not gzip.decompress and the like: there may be padding behind.
        if data.startswith(_GZIP):
            return _whole(path, zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), data)
        if data.startswith(_XZ):
            return _whole(path, lzma.LZMADecompressor(), data)
        if data.startswith(_ZSTD):
            return _zstd(path, data)
    except (zlib.error, lzma.LZMAError, struct.error) as error:
        raise InputError(f"{path} cannot be unpacked: {error}") from None
    return None


def _whole(path: Path, decompressor: Any, data: bytes) -> bytes:
    unpacked: bytes = decompressor.decompress(data)
    if not decompressor.eof:
        raise InputError(f"{path} cannot be unpacked: its end is missing")
    return unpacked


def _zstd(path: Path, data: bytes) -> bytes:
    if not shutil.which("zstd"):
        raise LackError(f"{path} is compressed by zstd, which this machine lacks: install zstd")
    done = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise InputError(f"{path} cannot be unpacked: {reason}")
    return done.stdout
