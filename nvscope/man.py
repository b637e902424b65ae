"""`nvscope man`: the commands' help texts as manual pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

import nvscope
from nvscope import roff
from nvscope.cli import UnusableCommand
from nvscope.helptext import Paragraph, sections, walk
from nvscope.probes.errors import InputError, shown

_SUMMARY_LIMIT = 200  # characters: a first sentence, whole
_SWITCH = re.compile(r"(?<![\w-])--?\w[\w-]*")

_EXAMPLES = """\b
Examples:
  nvscope man /usr/local/share/man/man1    # then: man nvscope
  nvscope man /opt/nvscope/share/man/man1  # found where /opt/nvscope/bin is in PATH
"""


@click.command(epilog=_EXAMPLES)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def man(context: click.Context, folder: Path) -> None:
    """Write the manual pages into FOLDER, made if need be.

    They say what --help says: nvscope(1), and a page for each command, such as nvscope-record(1).
    What needs packages that are not installed has none. The same version writes the same pages,
    byte for byte.
    """
    root = context.find_root().command
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages(root, "nvscope"):
            (folder / f"{name}.1").write_text(page, encoding="utf-8")
            click.echo(shown(folder / f"{name}.1"))
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None


def pages(root: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """The name and the text, in man(7), of a page for each command that can be used here."""
    general = sections(root).exit_status
    contexts = [c for c in walk(root, name) if not isinstance(c.command, UnusableCommand)]
    names = {context.command_path for context in contexts}
    for context in contexts:
        yield _name(context.command_path), _page(context, general, names)


def _page(context: click.Context, general: tuple[Paragraph, ...], names: set[str]) -> str:
    path = context.command_path
    found = sections(context.command)
    version = f"nvscope {nvscope.__version__}"
    summary = context.command.get_short_help_str(_SUMMARY_LIMIT).rstrip(".")
    usage = " ".join(context.command.collect_usage_pieces(context))
    lines = [
        roff.macro("TH", _name(path).upper(), "1", nvscope.__date__, version, "User Commands"),
        *roff.section("NAME", roff.text(f"{_name(path)} - {summary}")),
        *roff.section("SYNOPSIS", [f"{roff.bold(path)} {roff.escape(usage)}"]),
        *roff.section("DESCRIPTION", roff.paragraphs(map(_lines, found.description))),
        *roff.section("COMMANDS", _commands(context)),
        *roff.section("OPTIONS", _options(context)),
        *roff.section("EXIT STATUS", roff.paragraphs(map(_lines, found.exit_status or general))),
        *roff.section("EXAMPLES", roff.verbatim(found.examples) if found.examples else []),
        *roff.section("SEE ALSO", _see_also(context, names)),
    ]
    return "\n".join(lines) + "\n"


def _name(path: str) -> str:
    return path.replace(" ", "-")


def _lines(paragraph: Paragraph) -> list[str]:
    if not paragraph.verbatim:
        return roff.text(paragraph.text)
    head, *rest = paragraph.lines
    return [roff.escape(head), *(roff.verbatim(line.removeprefix("  ") for line in rest))]


def _commands(context: click.Context) -> Iterator[str]:
    for child in _children(context):
        summary = child.command.get_short_help_str(_SUMMARY_LIMIT)
        page = f"{_name(child.command_path)}(1)"
        yield from roff.tagged(roff.bold(page), summary)


def _children(context: click.Context) -> Iterator[click.Context]:
    for each in walk(context.command, context.info_name or "", context.parent):
        if each.parent is not None and each.parent.command is context.command:
            yield each


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record:
            switches, told = record
            yield from roff.tagged(_SWITCH.sub(lambda found: roff.bold(found[0]), switches), told)


def _see_also(context: click.Context, names: set[str]) -> list[str]:
    """The group that it is of, and what its help speaks of."""
    above = [context.parent.command_path] if context.parent else []
    told = " ".join(each.text for each in sections(context.command).description)
    spoken_of = [name for name in names if re.search(rf"\b{re.escape(name)}\b", told)]
    found = sorted({*above, *spoken_of} - {context.command_path})
    joined = [rf"{roff.bold(_name(each))}(1)" for each in found]
    return [", ".join(joined)] if joined else []
