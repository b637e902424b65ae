"""Counts of probes that another process has pinned: for reading alone, without any capability."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nvscope.probes.counts import stats
from nvscope.probes.counts.counters import MAPS, Counters
from nvscope.probes.counts.snapshot import Attachment, Snapshot, VmKey, notifier_seen
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import libbpf
from nvscope.probes.pins import about
from nvscope.probes.pins.layout import ABOUT, CURRENT, STATS


@dataclass(frozen=True)
class _Opened:
    """The pins of one loader. place: device and inode of their folder, which no later one has."""

    place: tuple[int, int]
    about: about.About
    counters: Counters

    def close(self) -> None:
        self.counters.close()
        _close_all(self.counters.maps)


class Pinned:
    """What is pinned in a folder now; all methods may be called from any thread.

    The pins may come later, go, and be replaced: each snapshot looks whether they are still those
    that are open.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CURRENT
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """As of the last snapshot; none where that failed."""
        opened = self._opened
        return opened.about.attachments if opened else ()

    @property
    def host(self) -> about.Host | None:
        """As of the last snapshot; None where that failed."""
        opened = self._opened
        return opened.about.host if opened else None

    def snapshot(self) -> Snapshot:
        """All counters now. Raises LackError where none of ours are pinned."""
        with self._lock:
            return self._current().counters.snapshot()

    def forget(self, vm: VmKey) -> None:
        """The maps are not ours to write: the program at a VM's end has taken its rows away."""

    def close(self) -> None:
        """Let go of the maps; what is attached stays. May be called twice."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current(self) -> _Opened:
        place = self._place()
        if self._opened is None or self._opened.place != place:
            self._drop()
            self._opened = _open(self._folder, place)
        return self._opened

    def _place(self) -> tuple[int, int]:
        try:
            status = self._folder.stat()
        except OSError as error:
            self._drop()
            raise _unreadable(self._folder.parent, error) from None
        return status.st_dev, status.st_ino

    def _drop(self) -> None:
        opened, self._opened = self._opened, None
        if opened:
            opened.close()


def _open(folder: Path, place: tuple[int, int]) -> _Opened:
    try:
        said = _read_about(folder)
        maps = _open_all([folder / name for name in MAPS])
    except OSError as error:
        raise _unreadable(folder.parent, error) from None
    told = stats.by_pin(folder / STATS, said.programs) if (folder / STATS).exists() else None
    return _Opened(place, said, Counters(maps, told, notifier_seen(said.attachments)))


def _read_about(folder: Path) -> about.About:
    value = _about_value(folder)
    stamp = about.read_stamp(value)
    if not about.readable(stamp):
        raise LackError(
            f"what is pinned in {folder.parent} is of nvscope {stamp or 'of another kind'},"
            f" and this is {about.our_stamp()}: load it anew with this one's nvscope load --replace"
        )
    return about.parse(value)


def is_readable(folder: Path) -> bool | None:
    """Whether this version reads the counts that are pinned there; None: there are none.

    Raises OSError.
    """
    try:
        return about.readable(about.read_stamp(_about_value(folder / CURRENT)))
    except FileNotFoundError:
        return None


def _about_value(folder: Path) -> bytes:
    fd = libbpf.open_pinned(folder / ABOUT)
    try:
        return libbpf.read_value(fd, about.ABOUT_BYTES)
    finally:
        os.close(fd)


def _open_all(paths: list[Path]) -> dict[str, int]:
    """Name -> fd; all of them, or none and OSError."""
    fds: dict[str, int] = {}
    try:
        for path in paths:
            fds[path.name] = libbpf.open_pinned(path, mapping=True)
    except OSError:
        _close_all(fds)
        raise
    return fds


def _close_all(fds: Mapping[str, int]) -> None:
    for fd in fds.values():
        os.close(fd)


def _unreadable(folder: Path, error: OSError) -> LackError:
    if isinstance(error, FileNotFoundError):
        return LackError(f"nothing is loaded in {folder}: as root, nvscope load")
    if isinstance(error, PermissionError):
        return LackError(
            f"not allowed to read what is loaded in {folder}: be root, or in the group that"
            " nvscope load --group named"
        )
    return LackError(f"cannot read what is loaded in {folder}: {error.strerror}")
