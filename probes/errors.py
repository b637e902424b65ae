"""The ways in which nvscope tells a user that something is missing or will not do."""

from __future__ import annotations

import click


class _LineError(click.ClickException):
    """Its message is one line that may hold names which others chose."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class LackError(_LineError):
    """The machine lacks something: one line on stderr (what, where, the remedy), exit code 3."""

    exit_code = 3


class InputError(_LineError):
    """A file is not what it should be, or cannot be written: one line on stderr, exit code 2."""

    exit_code = 2


def shown(text: object) -> str:
    r"""Text as it is shown: one line that a terminal obeys in nothing, whoever chose the words.

    For names of files, and for all that came out of one. What is not printable becomes U+FFFD: also
    bytes that are no UTF-8, which Python has as surrogates, and bidirectional characters.

    >>> shown("a\nb\x1b[2J\udcff\u202e.arrows")
    'a b�[2J��.arrows'
    """
    line = " ".join(str(text).splitlines()) if not str(text).isprintable() else str(text)
    return "".join(
        c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line
    )


def notice(text: object) -> None:
    """Say something on stderr, in a line that begins with our name."""
    click.echo(f"nvscope: {shown(text)}", err=True)
