"""How functions are compiled: once for a machine, as far as there is a folder to keep them in."""

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


def part(function: F) -> F:
    """Compile it as a part of those that call it: such a call costs nothing."""
    return cast(F, numba.njit(inline="always")(function))


def _folder() -> str:
    """Another whenever any file here changes: Numba looks at a function's own file only."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return str(Path(_config.CACHE_DIR or caches / "nvscope" / "compiled") / version[:16])


_config.CACHE_DIR = _folder()
