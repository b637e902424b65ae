"""From attached probes to pins, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nvscope.probes.counts.counters import MAPS
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import libbpf
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.about import ABOUT_BYTES, About, Host, our_stamp
from nvscope.probes.pins.layout import ABOUT, CURRENT, LINKS, LOADING, OLD, STATS

if TYPE_CHECKING:
    from nvscope.probes.points.loader import Loaded

# Whoever owns a link may detach.
_OWNERS_FOLDER, _OWNERS_PIN = 0o700, 0o600
# For a group of readers, below a folder that has the same. Who maps a map's memory has to open it
# for writing as well, which a frozen map allows nobody.
_READERS_FOLDER, _READERS_PIN, _READERS_MAP = 0o750, 0o440, 0o660


def pin(loaded: Loaded, folder: Path, group: int | None = None) -> None:
    """Let them stay attached when this process ends. Raises LackError.

    group: the id of the one whose members may read; None: our user alone may, and root.
    """
    loading = folder / LOADING
    try:
        loading.mkdir(mode=_OWNERS_FOLDER)
        _pin_about(loaded, loading / ABOUT)
        _pin_maps({name: loaded.counters.maps[name] for name in MAPS}, loading)
        if loaded.iterator is not None:
            libbpf.pin(loaded.iterator, loading / STATS)
        if group is not None:
            _give(loading, group)
        # The links last: until now all would go with this process.
        (loading / LINKS).mkdir(mode=_OWNERS_FOLDER)
        _pin_all(loaded.links, loading / LINKS)
        _exchange(folder)
    except PermissionError as error:
        raise LackError(f"cannot pin to {folder}: {error.strerror}{_remedy(group)}") from None
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
    about = About(our_stamp(), host, loaded.attachments, loaded.programs)
    fd = libbpf.create_array("nvscope_about", ABOUT_BYTES)
    try:
        libbpf.write(fd, 0, about.to_bytes())
        libbpf.pin(fd, path)
    finally:
        os.close(fd)


def _pin_maps(fds: Mapping[str, int], folder: Path) -> None:
    for fd in fds.values():
        libbpf.freeze(fd)
    _pin_all(fds, folder)


def _pin_all(fds: Mapping[str, int], folder: Path) -> None:
    for name, fd in fds.items():
        libbpf.pin(fd, folder / name)
        (folder / name).chmod(_OWNERS_PIN)  # whatever the umask


def _give(folder: Path, group: int) -> None:
    """Let a group read what is in a folder; the folder itself last."""
    for path in folder.iterdir():
        os.chown(path, -1, group)
        path.chmod(_READERS_MAP if path.name in MAPS else _READERS_PIN)
    os.chown(folder, -1, group)
    folder.chmod(_READERS_FOLDER)


def _remedy(group: int | None) -> str:
    """What may help who is not permitted to pin."""
    if group is None or group in (os.getegid(), *os.getgroups()):
        return ""
    return f" (to give it to group {group}, be a member of it: Group= of the service)"
