"""The commands, as `nvscope` has them, and the examples in their helps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click

from nvscope.cli import main
from nvscope.helptext import sections, walk

ALL = {context.command_path: context for context in walk(main, "nvscope")}
LEAVES = {
    path: context for path, context in ALL.items() if not isinstance(context.command, click.Group)
}
# Command -> the lines of its examples.
EXAMPLES = {path: sections(context.command).examples for path, context in LEAVES.items()}
# What ends a command in a line of shell.
_ENDS = {"|", ">", ">>", "<", ";", "&", "&&", "||", "2>", "|&"}


def words_of(line: str) -> list[str]:
    """The arguments of nvscope in a line of shell.

    >>> words_of("ssh host nvscope record - > 'a b'  # so")
    ['record', '-']
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "%+,:"
    words = iter(lexer)
    for word in words:
        if word == "nvscope":
            return list(_until_an_end(words))
    raise ValueError(f"no nvscope in {line!r}")


def _until_an_end(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        if word in _ENDS:
            return
        yield word


def parse(words: list[str]) -> click.Context:
    """The context of the command that these words are for, parsed and not run."""
    context = main.make_context("nvscope", list(words))
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, arguments = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, arguments, parent=context)
    return context
