"""A cache keyed by what went in: an artifact is made once, whole, and by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nvscope.lab.setup.paths import cache_dir


def digest(*inputs: str | bytes | Path) -> str:
    """The key of an artifact: 16 hex digits over texts, bytes and the contents of files.

    >>> digest("a", "b") == digest("ab")
    False
    """
    total = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, Path) else item
        data = data.encode() if isinstance(data, str) else data
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()[:16]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of this name; another process waits."""
    lock = cache_dir() / "locks" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def path_of(kind: str, key: str) -> Path:
    """Where the artifact lies, or would lie."""
    return cache_dir() / kind / key


def artifact(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of the artifact, made by `make(folder)` if it is not there yet.

    It appears under its name only when `make` has returned; a build that was killed leaves a
    `.partial` folder, which the next one throws away.
    """
    final = path_of(kind, key)
    if final.is_dir():
        return final
    with locked(kind):
        if final.is_dir():
            return final
        partial = final.with_name(f"{key}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            make(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(final)
    return final
