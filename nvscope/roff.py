"""Text to man(7) macros, for groff and mandoc."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

_WIDTH = 64  # leaves room for what escapes add
_AT_BLANKS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def escape(text: str) -> str:
    r"""Text that is shown as it is, wherever it comes on a line.

    >>> print(escape(r"--json '\b' ~ ^"))
    \-\-json \(aq\eb\(aq \(ti \(ha
    >>> print(escape(".TH"))
    \&.TH
    """
    special = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha"}
    safe = "".join(special.get(character, character) for character in text)
    return rf"\&{safe}" if safe.startswith(".") else safe


def bold(text: str) -> str:
    r"""Escaped, in bold.

    >>> print(bold("--json"))
    \fB\-\-json\fR
    """
    return rf"\fB{escape(text)}\fR"


def macro(name: str, *arguments: str) -> str:
    r"""A line with a macro; its arguments, which are plain text without backslashes, in quotes.

    >>> print(macro("TH", "NVSCOPE", 'a "b"'))
    .TH "NVSCOPE" "a \(dqb\(dq"
    """
    quoted = (each.replace('"', r"\(dq") for each in arguments)
    return " ".join([f".{name}", *(f'"{each}"' for each in quoted)])


def text(words: str) -> list[str]:
    """Running text, in lines as mandoc -Tlint wants them: none longer than 80 bytes."""
    return [escape(line) for line in textwrap.wrap(words, _WIDTH, **_AT_BLANKS)]


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A section of lines that are macros or escaped; nothing where there are no lines."""
    body = list(lines)
    return [macro("SH", title), *body] if body else []


def paragraphs(each: Iterable[list[str]]) -> list[str]:
    """Paragraphs of such lines, one after the other.

    >>> paragraphs([["a"], ["b"]])
    ['a', '.PP', 'b']
    """
    joined: list[str] = []
    for lines in each:
        joined += [".PP", *lines] if joined else lines
    return joined


def verbatim(lines: Iterable[str]) -> list[str]:
    """Lines as they are, indented, in a fixed font where there is one."""
    return [".RS 4", ".EX", *map(escape, lines), ".EE", ".RE"]


def tagged(term: str, words: str) -> list[str]:
    """A term, escaped already, with its explanation below it."""
    return [".TP", term, *text(words)]
