"""Patches, as text: which files they change, and their application."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nvscope.lab.kernel import tools
from nvscope.probes.errors import InputError, LackError

_FILE = re.compile(r"^(?:---|\+\+\+) [^/\s]+/([^\t\n]+)", re.MULTILINE)
_MOVED = re.compile(r"^(?:rename|copy) (?:from|to) (.+)$", re.MULTILINE)


def touched(patches: Iterable[Path]) -> set[str]:
    """The files that patches may change; a line of a patch's text may look like one more."""
    texts = [patch.read_text(errors="surrogateescape") for patch in patches]
    found = {name for text in texts for each in (_FILE, _MOVED) for name in each.findall(text)}
    # patch(1) goes out of the tree for none either.
    return {name for name in found if not name.startswith("/") and ".." not in name.split("/")}


def check(patches: Iterable[Path]) -> None:
    """Raises InputError where one of these files is no patch."""
    for patch in patches:
        if not touched([patch]):
            raise InputError(f"{patch} is no patch: it changes no file")


def apply(patches: Iterable[Path], tree: Path) -> None:
    """Apply patches in this order, in place. Raises InputError, with the patch's name."""
    for patch in patches:
        # It asks nothing, and takes no patch for one that is to be taken back.
        command = ["patch", "-p1", "--force", "--silent", "--no-backup-if-mismatch"]
        try:
            tools.run([*command, "-i", str(patch.resolve())], tree, patch.name)
        except LackError as error:
            raise InputError(f"{patch} does not apply: {error.message}") from None
