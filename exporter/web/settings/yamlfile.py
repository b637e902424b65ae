"""A YAML file as values that know the line of their key, read strictly: each key once.

The values are taken from PyYAML's nodes, not from what it makes of them: "no" is no boolean where a
text is wanted, and a key that is there twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvscope.probes.config.text import read_text
from nvscope.probes.errors import InputError, LackError

# Some 800 users. PyYAML takes 20 s and 300 MiB for a million bytes.
_MOST_BYTES = 1 << 16
# Booleans as go-yaml v2 has them, which reads these files elsewhere: YAML 1.1's.
_WORDS = {"y": True, "yes": True, "true": True, "on": True}
_WORDS |= {"n": False, "no": False, "false": False, "off": False}
_FLAGS = {form: flag for w, flag in _WORDS.items() for form in (w, w.capitalize(), w.upper())}
# Neither a file's name nor a header can have these; YAML's escapes can.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Value:
    """A value, its key's name and line, from 1. node: PyYAML's; None where it is not there."""

    path: Path
    name: str
    line: int
    node: Any = None

    def wrong(self, text: str) -> InputError:
        """The error to raise for it: one line."""
        return InputError(f"{self.where}: {shown(self.name)} {text}")

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path} line {self.line}"

    @property
    def kind(self) -> str:
        """PyYAML's: "scalar", "sequence", "mapping"; "" where there is nothing, or null."""
        return "" if self.node is None or self.node.tag.endswith(":null") else str(self.node.id)

    def text(self) -> str:
        """A scalar as it is written; "" for nothing. Raises InputError."""
        if not self.kind:
            return ""
        if self.kind != "scalar" or self.node.tag.endswith(":binary"):
            raise self.wrong("is a text")
        if _NO_TEXT.search(self.node.value):
            raise self.wrong("has a character that no text has")
        return str(self.node.value)

    def flag(self, *, absent: bool) -> bool:
        """A boolean; false for null. Raises InputError."""
        if not self.kind:
            return absent and self.node is None
        if not self.node.tag.endswith(":bool") or self.node.value not in _FLAGS:
            raise self.wrong("is true or false")
        return _FLAGS[self.node.value]

    def items(self) -> list[Value]:
        """A list's; none for nothing. Raises InputError."""
        if self.kind not in ("", "sequence"):
            raise self.wrong("is a list")
        there = self.node.value if self.kind else ()
        return [Value(self.path, self.name, _line(each), each) for each in there]

    def entries(self) -> dict[str, Value]:
        """A mapping's values by key; none for nothing. Raises InputError."""
        if self.kind not in ("", "mapping"):
            raise self.wrong("has keys and values")
        found: dict[str, Value] = {}
        for key, value in self.node.value if self.kind else ():
            name = Value(self.path, "a key", _line(key), key).text()
            entry = Value(self.path, name, _line(key), value)
            if key.tag.endswith(":merge"):
                raise entry.wrong("cannot be honoured: say the keys themselves, once each")
            if name in found:
                raise entry.wrong("is there twice")
            found[name] = entry
        return found

    def table(self, *keys: str) -> dict[str, Value]:
        """A value for each of these keys; no other may be there. Raises InputError."""
        found = self.entries()
        for key, value in found.items():
            if key not in keys:
                there = ", ".join(keys)
                raise InputError(
                    f"{value.where}: no {shown(key)} in {self.name}; there are {there}"
                )
        return {key: found.get(key, Value(self.path, key, self.line)) for key in keys}


def shown(text: str, most: int = 60) -> str:
    """A text of a file's, for one line, cut where it is longer.

    >>> shown("prom"), shown("a\\n"), len(shown("a" * 500))
    ('prom', "'a\\\\n'", 62)
    """
    if len(text) > most:
        return f"{text[: most - 1]!r}…"
    return text if text.isprintable() and text else repr(text)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def read(path: Path) -> Value:
    """Return the file's one value. Raises InputError, LackError."""
    try:
        import yaml
    except ImportError:
        raise LackError(
            "there is no PyYAML here, which reads --web-config; pip install pyyaml"
        ) from None

    class Loader(yaml.SafeLoader):
        """Whose booleans are go-yaml's: PyYAML has no "y" and "n"."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))
    try:
        node = yaml.compose(read_text(path, "no web configuration: longer", _MOST_BYTES), Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:  # a control character; nested 1e3 deep
        raise InputError(f"{path}: no YAML: {str(error).splitlines()[0]}") from None
    return Value(path, "a web configuration", _line(node) if node else 1, node)
