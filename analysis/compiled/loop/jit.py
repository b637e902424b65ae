"""How functions are compiled: once for a machine, as far as there is a folder to keep them in.

That is `compiled` in the folder for all that nvscope keeps, as lab/setup/paths.py has it:
$NVSCOPE_CACHE, else $XDG_CACHE_HOME/nvscope, else ~/.cache/nvscope. Numba's own $NUMBA_CACHE_DIR
comes first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_config: Any = numba.config

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile it when it is first called."""
    try:
        return cast(F, numba.njit(cache=True)(function))
    except RuntimeError:  # no folder can be written to
        return cast(F, numba.njit(function))


def inlined(function: F) -> F:
    """Compile it as a part of those that call it: such a call costs nothing, but for its arrays."""
    return cast(F, numba.njit(inline="always")(function))


def _folder() -> str:
    """Another whenever any file here changes: Numba looks at a function's own file only."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return str(Path(_config.CACHE_DIR or _cache() / "compiled") / version[:16])


def _cache() -> Path:
    if explicit := os.environ.get("NVSCOPE_CACHE"):
        # Not Path.expanduser(): there may be nobody whose home it could be.
        return Path(os.path.expanduser(explicit))  # noqa: PTH111
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "nvscope"


_config.CACHE_DIR = _folder()
