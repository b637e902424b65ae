"""Named tuples made without the Python function that is their class's constructor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])


def maker(cls: type[T]) -> Callable[[tuple[Any, ...]], T]:
    """What makes a `cls` of a plain tuple of all its fields, in a third of the time.

    >>> from nvscope.analysis.model.ranges import Entry
    >>> maker(Entry)((0, 4096, 1))
    Entry(start=0, end=4096, value=1)
    """
    return partial(tuple.__new__, cls)
