"""A configuration file as tables of values, with the line of each: where an error is, is said."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvscope.probes.config.text import read_text
from nvscope.probes.errors import InputError

_TOO_LONG = "no configuration: it is longer"
_HEADER = re.compile(r"\s*\[\s*([\w-]+)(?:\s*\.\s*([\w-]+))?\s*\]")


@dataclass(frozen=True)
class File:
    """values: table -> key -> value, as TOML has them."""

    path: Path
    text: str
    values: Mapping[str, Mapping[str, Any]]

    def where(self, table: str, key: str = "") -> str:
        """The file, and the line of a key or of a table's header, where there is one."""
        line = _line(self.text, table, key)
        return f"{self.path} line {line}" if line else str(self.path)


def read(path: Path, tables: Sequence[str]) -> File:
    """Read a file that has these tables at most. Raises InputError, LackError."""
    file = File(path, text := read_text(path, _TOO_LONG), _tables(path, text))
    for name, table in file.values.items():
        if name not in tables:
            raise InputError(
                f"{file.where(name, name)}: no table [{name}]; there are"
                f" {', '.join(f'[{each}]' for each in tables)}"
            )
        if not isinstance(table, dict):
            raise InputError(f"{file.where('', name)}: {name} is a table: [{name}]")
    return file


def _tables(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}") from None  # it names the line
    except (RecursionError, ValueError):  # nested 1e5 deep; an integer of 5,000 digits
        raise InputError(f"{path}: nested too deep, or a number too long") from None


def _line(text: str, table: str, key: str) -> int:
    """The line of a key in a table, from 1, or of the table's header; 0 where it is not plain.

    tomllib does not tell.

    >>> _line('[a]\\nx = 1\\n[b]\\nx = 2\\n', "b", "x"), _line("[a]", "a", "")
    (4, 1)
    >>> _line("[a]\\n[a.x]", "a", "x")
    2
    """
    wanted = re.compile(rf'\s*"?{re.escape(key)}"?\s*[=.]') if key else None
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            current = header[1]
            if current == table and (key in ("", table) or key == header[2]):
                return number
        elif current in (table, "") and wanted and wanted.match(line):
            return number
    return 0
