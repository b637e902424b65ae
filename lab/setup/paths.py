"""Where the lab keeps things: one cache folder outside the checkout, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The one folder that the lab leaves on this machine.

    $NVSCOPE_CACHE, else $XDG_CACHE_HOME/nvscope, else ~/.cache/nvscope.
    """
    explicit = os.environ.get("NVSCOPE_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nvscope"


def source_root() -> Path:
    """The folder whose code the guest is to run.

    The checkout, where the subpackages lie side by side; for an installed wheel, the folder that
    holds the package `nvscope`.
    """
    return _source_root(Path(__file__).resolve().parents[1])


def _source_root(lab: Path) -> Path:
    # Not by the folder's name: a clone is called nvscope too.
    checkout = lab.parent
    return checkout if (checkout / "setup.cfg").exists() else checkout.parent
