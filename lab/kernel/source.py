"""Where the lab kernel's source comes from: Debian's linux-source package, or what the user has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.setup import store
from nvscope.lab.setup.paths import cache_dir
from nvscope.lab.setup.rootfs import guest_apt
from nvscope.probes.errors import LackError

VERSION = "7.3"  # the series that the fragment and the patches are written for
PACKAGE = f"linux-source-{VERSION}"


@dataclass(frozen=True)
class Source:
    """A kernel source: a tarball or a tree, and an identity that goes into the cache key."""

    path: Path
    identity: str

    def unpack(self, into: Path) -> Path:
        """The source tree, freshly made below `into` (a given tree is copied)."""
        if self.path.is_dir():
            tree = into / "linux"
            shutil.copytree(self.path, tree, symlinks=True)
            return tree
        subprocess.run(["tar", "-xf", self.path, "-C", into], check=True)
        return next(child for child in into.iterdir() if (child / "Kconfig").exists())


def given(path: Path) -> Source:
    """The user's own tree or tarball."""
    if path.is_dir():
        if not (path / "Kconfig").is_file():
            raise LackError(f"{path} is not a Linux source tree: it has no Kconfig")
        return Source(path, f"tree {path.resolve()} {_newest_mtime(path / 'arch/arm64/kvm')}")
    if not path.is_file():
        raise LackError(f"{path}: no such source tree or tarball")
    return Source(path, f"tarball {store.digest(path)}")


def fetched() -> Source:
    """Debian's source package; fetched once, and then kept as it is in the cache."""
    folder = cache_dir() / "source"
    kept = sorted(folder.glob("*/linux-source-*.tar.xz"))
    if not kept:
        kept = [_fetch(folder)]
    return Source(kept[-1], kept[-1].parent.name)


def is_cached() -> bool:
    """Whether `fetched` has nothing to fetch."""
    return any((cache_dir() / "source").glob("*/linux-source-*.tar.xz"))


def _fetch(folder: Path) -> Path:
    apt = guest_apt("kernel")
    apt.update()
    version = apt.candidate(PACKAGE)
    if version is None:
        raise LackError(_moved_on(apt.names("linux-source-")))
    key = re.sub(r"[^\w.+~-]", "_", version)

    def make(partial: Path) -> None:
        deb = apt.download_only(PACKAGE, partial)
        subprocess.run(["dpkg", "-x", deb, partial / "deb"], check=True)
        (partial / "deb/usr/src" / f"{PACKAGE}.tar.xz").rename(partial / f"{PACKAGE}.tar.xz")
        shutil.rmtree(partial / "deb")
        deb.unlink()

    return store.artifact("source", key, make) / f"{PACKAGE}.tar.xz"


def _moved_on(names: list[str]) -> str:
    there = ", ".join(names) or "none"
    return (
        f"the Debian archive no longer has {PACKAGE} (it has: {there}); "
        "give a source tree or tarball with --source"
    )


def _newest_mtime(folder: Path) -> int:
    return max((int(path.stat().st_mtime) for path in folder.rglob("*")), default=0)
