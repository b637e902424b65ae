"""Numbers on a command line: click's own ranges let "nan" through, and without an end infinity."""

from __future__ import annotations

import math
from typing import Any

import click


class Finite(click.FloatRange):
    """A number from `least` to `most`; anything else is wrong usage, in one line.

    >>> Finite(0, 9).convert("1e-3", None, None)
    0.001
    >>> Finite(0, 9).convert("nan", None, None)
    Traceback (most recent call last):
    click.exceptions.BadParameter: 'nan' is no number.
    """

    def __init__(self, least: float, most: float) -> None:
        super().__init__(least, most)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As click wants it. Raises BadParameter."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number
