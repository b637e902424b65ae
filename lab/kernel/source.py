"""Where the lab kernel's source comes from: Debian's linux-source package, or what the user has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import tree
from nvscope.lab.setup import store
from nvscope.lab.setup.paths import cache_dir
from nvscope.lab.setup.rootfs import guest_apt
from nvscope.probes.errors import InputError, LackError

VERSION = "7.3"  # the series that the fragment and the patches are written for
PACKAGE = f"linux-source-{VERSION}"


@dataclass(frozen=True)
class SourceTree:
    """A kernel source: a tarball or a tree, and an identity that goes into the cache key.

    given: it is a user's, and our patches are not for it.
    """

    path: Path
    identity: str
    given: bool = False

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder, of which a copy is kept up to date."""
        return self.path.is_dir()

    def unpack(self, into: Path) -> Path:
        """The tree that is in the tarball, freshly made below `into`. Raises InputError."""
        command = ["tar", "-xf", str(self.path), "-C", str(into)]
        done = subprocess.run(command, capture_output=True, check=False)
        trees = [child for child in into.iterdir() if (child / "Kconfig").exists()]
        if done.returncode or not trees:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = said[0] if said else "it has no folder with a Kconfig"
            raise InputError(f"{self.path} is no Linux source: {reason}")
        return trees[0]


def given(path: Path) -> SourceTree:
    """The user's own tree or tarball."""
    if path.is_dir():
        if not (path / "Kconfig").is_file():
            raise LackError(f"{path} is not a Linux source tree: it has no Kconfig")
        try:
            return SourceTree(path, tree.identity(path), given=True)
        except OSError as error:
            raise LackError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    if not path.is_file():
        raise LackError(f"{path}: no such source tree or tarball")
    return SourceTree(path, f"tarball {store.digest(path)}", given=True)


def fetched() -> SourceTree:
    """Debian's source package; fetched once, and then kept as it is in the cache."""
    folder = cache_dir() / "source"
    kept = sorted(folder.glob("*/linux-source-*.tar.xz"))
    if not kept:
        kept = [_fetch(folder)]
    return SourceTree(kept[-1], kept[-1].parent.name)


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
