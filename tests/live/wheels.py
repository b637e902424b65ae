"""Wheels and sdists of a folder with the source, and virtual environments for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

SECONDS = 600  # at most, for what pip does at once


def make(source: Path, into: Path) -> Path:
    """By pip. source: a folder, or an sdist; into: a folder that will have nothing else."""
    shutil.rmtree(into, ignore_errors=True)
    _pip(Path(sys.executable), "wheel", "--no-deps", "-w", into, source)
    [made] = into.glob("*.whl")
    return made


def make_sdist(source: Path, python: Path) -> Path:
    """By setuptools of that interpreter; in the folder dist of the source."""
    command = [python, "-c", "import setup_backend; print(setup_backend.build_sdist('dist'))"]
    done = subprocess.run(
        command, cwd=source, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    return source / "dist" / done.stdout.splitlines()[-1]


def names(wheel: Path) -> set[str]:
    """Of the files in it."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def environment(folder: Path, *words: str | Path) -> Path:
    """A new virtual environment; words: what pip is to install there, with its options."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=SECONDS)
    _pip(folder / "bin/python", "install", *words)
    return folder


def _pip(python: Path, *words: str | Path) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, *words], check=True, timeout=SECONDS)
