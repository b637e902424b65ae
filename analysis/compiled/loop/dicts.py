"""Dictionaries of int64, for the loop. Python's own way to them would compile anew each time."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.typed import Dict

from nvscope.analysis.compiled.loop.jit import inlined, jit


@jit
def new_names() -> Any:
    """An empty one."""
    return Dict.empty(types.int64, types.int64)


@jit
def put(names: Any, name: int, number: int) -> None:
    """Add one, or change it."""
    names[name] = number


@jit
def drop(names: Any, name: int) -> None:
    """Take one out that is there."""
    del names[name]


@inlined
def find(names: Any, name: int, default: int) -> int:
    """As dict.get, whose result Numba takes for one that may be None."""
    found = default
    if name in names:
        found = names[name]
    return found
