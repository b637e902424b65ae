"""What a shell offers where a file of ours is wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

# click's scripts quote nothing, and shells part words at : and =.
_PLAIN = re.compile(r"[\w.@%+/-]*")

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def files(*endings: str) -> Completer:
    """Offer files with these endings, and folders; where there are none, what the shell would."""

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        found, folders = _beginning_with(begun, endings)
        if not found or not all(map(_PLAIN.fullmatch, found + folders)):
            return [CompletionItem(begun, type="file")]
        return [CompletionItem(name) for name in found + folders]

    return complete


def _beginning_with(begun: str, endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    folder, name = os.path.split(begun)
    try:
        with os.scandir(folder or ".") as entries:
            there = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if entry.name.startswith(name) and (name or not entry.name.startswith("."))
            )
    except OSError:
        return [], []
    before = begun.removesuffix(name)
    files = [before + each for each, is_folder in there if not is_folder and each.endswith(endings)]
    return files, [f"{before}{each}/" for each, is_folder in there if is_folder]
