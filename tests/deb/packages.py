"""The package's file, looked into and altered."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nvscope

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "debian/build.sh"
MODULES = "usr/lib/python3/dist-packages/nvscope"


def content(package: Path) -> list[str]:
    """The names of all that is no folder, such as "/usr/bin/nvscope"."""
    lines = _dpkg_deb("--contents", package).splitlines()
    return sorted(line.split()[5][1:] for line in lines if not line.startswith("d"))


def field(package: Path, name: str) -> str:
    """What its control file says."""
    return _dpkg_deb("--field", package, name).strip()


def as_version(package: Path, version: str, alter: Callable[[Path], None] = lambda _: None) -> Path:
    """The same package under another version, also in what the command says of itself.

    alter: changes the unpacked content. The new file lies beside the old one.
    """
    made = package.with_name(f"nvscope_{version}_all.deb")
    tree = made.with_suffix("")
    _dpkg_deb("--raw-extract", package, tree)
    for name in ("DEBIAN/control", f"{MODULES}/__init__.py"):
        path = tree / name
        path.write_text(path.read_text().replace(nvscope.__version__, version))
    alter(tree)
    _dpkg_deb("--root-owner-group", "--build", tree, made)
    shutil.rmtree(tree)
    return made


def another_layout(tree: Path) -> None:
    """For as_version: counts that are laid out otherwise, as far as a reader can know."""
    header = tree / MODULES / "probes/bpf/rows.h"
    header.write_text(header.read_text() + "/* another layout */\n")


def _dpkg_deb(*words: str | Path) -> str:
    done = subprocess.run(["dpkg-deb", *words], capture_output=True, text=True, check=True)
    return done.stdout
