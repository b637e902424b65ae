"""A YAML file as values that know their line, read strictly: each key once, and only known ones.

The values are taken from PyYAML's nodes, not from what it makes of them: "no" is no boolean where a
text is wanted, and a key that is there twice is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nvscope.probes.config.text import read_text
from nvscope.probes.errors import InputError, LackError

if TYPE_CHECKING:
    import yaml


@dataclass(frozen=True)
class Value:
    """A value, and where it is: path, and the line of what begins there, from 1."""

    path: Path
    node: yaml.Node

    def wrong(self, text: str) -> InputError:
        """The error to raise for it."""
        return InputError(f"{self.where}: {text}")

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path} line {self.node.start_mark.line + 1}"

    def text(self, what: str) -> str:
        """A scalar as it is written. Raises InputError."""
        value = self.node.value
        if not isinstance(value, str) or self.node.tag.endswith(":null"):
            raise self.wrong(f"{what} is a text")
        return value

    def flag(self, what: str) -> bool:
        """A boolean. Raises InputError."""
        value = self.node.value
        if value not in ("true", "false"):
            raise self.wrong(f"{what} is true or false")
        return bool(value == "true")

    def items(self, what: str) -> list[Value]:
        """A list's. Raises InputError."""
        if not self.node.tag.endswith(":seq"):
            raise self.wrong(f"{what} is a list")
        return [Value(self.path, each) for each in self.node.value]

    def table(self, what: str) -> dict[str, Value]:
        """A mapping's values by key; none of a key without anything. Raises InputError."""
        if self.node.tag.endswith(":null"):
            return {}
        if not self.node.tag.endswith(":map"):
            raise self.wrong(f"{what} has keys and values")
        found: dict[str, Value] = {}
        for key_node, value_node in self.node.value:
            key = Value(self.path, key_node)
            name = key.text("a key")
            if name in found:
                raise key.wrong(f"{name} is there twice")
            found[name] = Value(self.path, value_node)
        return found

    def known(self, what: str, keys: tuple[str, ...], refused: Mapping[str, str]) -> _Table:
        """A mapping that has these keys at most; refused: key -> why it cannot be honoured."""
        table = self.table(what)
        for name, value in table.items():
            if name in refused:
                raise value.wrong(f"{name} cannot be honoured: {refused[name]}")
            if name not in keys:
                raise value.wrong(f"no {name} in {what}; there are {', '.join(keys)}")
        return table


_Table = dict[str, Value]


def read(path: Path) -> Value | None:
    """Return the file's one value; None where it is empty. Raises InputError, LackError."""
    try:
        import yaml
    except ImportError:
        raise LackError(
            "there is no PyYAML here, which reads --web-config; pip install pyyaml"
        ) from None
    try:
        node = yaml.compose(read_text(path, "no web configuration: longer"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:  # a control character; nested 1e3 deep
        raise InputError(f"{path}: no YAML: {str(error).splitlines()[0]}") from None
    return None if node is None else Value(path, node)
