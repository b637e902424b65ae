"""Folders of a BPF file system: made, filled, taken away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from nvscope.probes.errors import LackError
from nvscope.probes.pins.layout import LOCK

# A file system of our own: the one at /sys/fs/bpf is closed to all but root (systemd mounts it so),
# and the exporter is not root.
DEFAULT = Path("/run/nvscope/bpf")
# Of the folder: others may go through, and see nothing in it.
MODE = 0o711
# By this a mount that is ours to unmount is known.
_DEVICE = "nvscope"


def require(folder: Path) -> None:
    """Mount a BPF file system there, unless it is in one. Raises LackError."""
    if is_bpffs(folder):
        _make(folder)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        options = f"mode={MODE:04o},nosuid,nodev,noexec"
        command = ["mount", "-t", "bpf", "-o", options, _DEVICE, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise _unmountable(folder, error.strerror or str(error)) from None
    if done.returncode:
        raise _unmountable(folder, done.stderr.strip().splitlines()[-1].strip())


def is_bpffs(folder: Path) -> bool:
    """Whether a folder lies in a BPF file system."""
    return _type_at(folder) == "bpf"


def release(folder: Path) -> None:
    """Unmount what `require` has mounted there; another's mount stays."""
    mounts = psutil.disk_partitions(all=True)
    if any(m.mountpoint == str(folder) and m.device == _DEVICE for m in mounts):
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other loaders. Raises LackError where one is at work."""
    fd = _open_lock(folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LackError(f"another loader is at work in {folder}: wait for it") from None
    finally:
        os.close(fd)


def _open_lock(folder: Path) -> int:
    """Not the folder itself: whoever can open a file can hold a lock on it. Raises LackError."""
    lock = folder / LOCK
    try:
        with contextlib.suppress(FileExistsError):
            lock.mkdir(mode=0o700)
        fd = os.open(lock, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise LackError(f"cannot lock {folder}: {error.strerror}; run as root") from None
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(fd)
        raise LackError(f"{lock} is not ours alone: as root, rmdir {lock}")
    return fd


def _make(folder: Path) -> None:
    """A folder in a BPF file system, for us alone to write to. Raises LackError."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(MODE)  # whatever the umask
        mode = folder.stat().st_mode
    except OSError as error:
        raise LackError(f"cannot make {folder}: {error.strerror}; run as root") from None
    if mode & stat.S_IWOTH:
        raise LackError(f"anybody may write to {folder}: as root, chmod {MODE:o} {folder}")


def remove(folder: Path) -> bool:
    """Take a folder away with its pins, if it is there: what only they kept is detached."""
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


def _type_at(folder: Path) -> str:
    """The type of the file system that a path lies in."""
    places = [folder.resolve(), *folder.resolve().parents]
    # The last of several mounts at one place is the one to be seen.
    types = {m.mountpoint: m.fstype for m in psutil.disk_partitions(all=True)}
    return next((types[str(place)] for place in places if str(place) in types), "")


def _unmountable(folder: Path, why: str) -> LackError:
    return LackError(
        f"no BPF file system at {folder}, and none can be mounted there: {why};"
        f" as root: mount -t bpf -o mode={MODE:04o} bpf {folder}"
    )
