"""The commands that there are, and the sections of their help texts: the source of the manual."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc

import click

_EXIT = re.compile(r"Exit codes?\b")
_EXAMPLES = re.compile(r"Examples?:")


@dataclass(frozen=True)
class Paragraph:
    """Some lines of a help text. verbatim: as click knows it, by a line with \\b before them."""

    lines: tuple[str, ...]
    verbatim: bool = False

    @property
    def text(self) -> str:
        """All in one line."""
        return " ".join(line.strip() for line in self.lines)


@dataclass(frozen=True)
class Sections:
    """A help text and its epilog. examples: lines of shell, without indentation."""

    description: tuple[Paragraph, ...]
    exit_status: tuple[Paragraph, ...]
    examples: tuple[str, ...]


def walk(
    root: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """A context for each command, the root first; hidden ones are left out."""
    context = click.Context(root, info_name=name, parent=parent, **root.context_settings)
    yield context
    if isinstance(root, click.Group):
        for each in root.list_commands(context):
            command = root.get_command(context, each)
            if command and not command.hidden:
                yield from walk(command, each, context)


def sections(command: click.Command) -> Sections:
    """Take a command's help text apart.

    >>> found = sections(click.Command("x", help="Does it.\\n\\nExit codes: 0 ok."))
    >>> found.description[0].text, found.exit_status[0].text, found.examples
    ('Does it.', 'Exit codes: 0 ok.', ())
    >>> sections(click.Command("x", epilog="\\b\\nExample:\\n  nvscope x  # so")).examples
    ('nvscope x  # so',)
    """
    description, exit_status, examples = [], [], []
    for paragraph in _paragraphs(command.help, command.epilog):
        if _EXAMPLES.match(paragraph.lines[0]):
            examples += [line.strip() for line in paragraph.lines[1:]]
        elif _EXIT.match(paragraph.lines[0]):
            exit_status.append(paragraph)
        else:
            description.append(paragraph)
    return Sections(tuple(description), tuple(exit_status), tuple(examples))


def _paragraphs(*texts: str | None) -> Iterator[Paragraph]:
    for text in texts:
        shown = cleandoc(text or "").partition("\f")[0]  # click shows nothing after \f
        # A line with \b begins a paragraph even where no empty line is before it.
        for block in re.split(r"\n\s*\n|\n(?=\x08\n)", shown):
            lines = block.strip("\n").splitlines()
            verbatim = lines[:1] == ["\b"]
            if kept := tuple(lines[verbatim:]):
                yield Paragraph(kept, verbatim)
