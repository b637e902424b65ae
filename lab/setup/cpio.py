"""Archives that the kernel unpacks into its first root file system: cpio, the "newc" format.

Documentation/driver-api/early-userspace/buffer-format.rst of Linux describes it. All in them
belongs to root, whoever writes them, and a file's place there need not be its place here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

ALIGNMENT_BYTES = 4
TRAILER = "TRAILER!!!"


def write(out: BinaryIO, files: Iterable[tuple[str, Path]]) -> None:
    """Append an archive. files: the name of each in it, folders before what is in them.

    Several archives may follow one another: the kernel unpacks them in turn.
    """
    for number, (name, path) in enumerate(files, 1):
        try:
            status, data = path.lstat(), _data(path)
        except FileNotFoundError:
            continue  # a checkout may be worked on meanwhile
        out.write(header(name, number, status.st_mode, int(status.st_mtime), len(data)))
        out.write(data)
        _pad(out)
    out.write(header(TRAILER, 0, 0, 0, 0))
    _pad(out)


def tree(root: Path, at: str = "", without: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """All below a folder, for `write`. at: the folder's name there; without: names to leave out."""
    if at:
        yield at, root
    for path in sorted(root.iterdir()):
        if path.name in without or not (path.is_symlink() or path.is_dir() or path.is_file()):
            continue
        name = f"{at}/{path.name}" if at else path.name
        if path.is_dir() and not path.is_symlink():
            yield from tree(path, name, without)
        else:
            yield name, path


def header(name: str, number: int, mode: int, mtime: int, size: int) -> bytes:
    """What precedes a file's data. number: of its inode; mtime: seconds; size: bytes.

    >>> header("init", 1, 0o100755, 0, 9)[:22], len(header("init", 1, 0o100755, 0, 9)) % 4
    (b'07070100000001000081ed', 0)
    """
    encoded = os.fsencode(name) + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, the device (2), rdev (2), namesize, check.
    fields = (number, mode, 0, 0, 1, mtime, size, 0, 0, 0, 0, len(encoded), 0)
    text = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return text + b"\0" * (-len(text) % ALIGNMENT_BYTES)


def _data(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return b"" if path.is_dir() else path.read_bytes()


def _pad(out: BinaryIO) -> None:
    out.write(b"\0" * (-out.tell() % ALIGNMENT_BYTES))
