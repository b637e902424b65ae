"""From attached probes to pins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nvscope.probes import libbpf
from nvscope.probes.errors import LackError
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.about import ABOUT_BYTES, About, Host, our_stamp
from nvscope.probes.pins.layout import ABOUT, CURRENT, LINKS, LOADING, OLD, PROGRAMS

if TYPE_CHECKING:
    from nvscope.probes.loader import Loaded

# Anyone may read; the links' owner alone may detach.
_READABLE, _OPEN_FOLDER = 0o444, 0o755


def pin(loaded: Loaded, folder: Path) -> None:
    """Let them stay attached when this process ends. Raises LackError."""
    loading = folder / LOADING
    try:
        _folder(loading, _OPEN_FOLDER)
        _pin_about(loaded, loading / ABOUT)
        _pin_all(loaded.counters.maps, loading)
        _pin_all(loaded.counters.programs, _folder(loading / PROGRAMS, _OPEN_FOLDER))
        # The links last: until now all would go with this process.
        _pin_all(loaded.links, _folder(loading / LINKS, 0o700), mode=0o600)
        _exchange(folder)
    except OSError as error:
        raise LackError(f"cannot pin to {folder}: {error.strerror}") from None
    finally:
        clean(folder)


def clean(folder: Path) -> bool:
    """Take away what a loader left that was killed half-way; whether there was any."""
    return bpffs.remove(folder / LOADING) | bpffs.remove(folder / OLD)


def unpin(folder: Path) -> bool:
    """Take everything away; whether there was anything."""
    return clean(folder) | bpffs.remove(folder / CURRENT)


def _exchange(folder: Path) -> None:
    current = folder / CURRENT
    if current.is_dir():
        current.rename(folder / OLD)
    (folder / LOADING).rename(current)


def _pin_about(loaded: Loaded, path: Path) -> None:
    host = Host(loaded.host.kernel, loaded.host.nv2, loaded.host.revmap)
    about = About(our_stamp(), host, loaded.attachments)
    fd = libbpf.create_array("nvscope_about", ABOUT_BYTES)
    try:
        libbpf.write_value(fd, about.to_bytes())
        _pin(fd, path, _READABLE)
    finally:
        os.close(fd)


def _pin_all(fds: Mapping[str, int], folder: Path, mode: int = _READABLE) -> None:
    for name, fd in fds.items():
        _pin(fd, folder / name, mode)


def _pin(fd: int, path: Path, mode: int) -> None:
    libbpf.pin(fd, path)
    path.chmod(mode)


def _folder(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)  # whatever the umask
    return path
