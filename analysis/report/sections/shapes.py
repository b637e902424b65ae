"""What sections are made of, as plain data: figures, tables and pictures, no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A headline figure. grave: that it is not 0 is bad news."""

    title: str
    value: str
    note: str = ""
    grave: bool = False


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row, those in `words` are words, not numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset({0})
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture, its title, and the key to its colours: (css class, text)."""

    title: str
    svg: Markup
    key: Sequence[tuple[str, str]] = field(default=())
