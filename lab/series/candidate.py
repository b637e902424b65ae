"""The kernels of a series, as users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab import assets
from nvscope.lab.assets import Assets
from nvscope.lab.kernel import build, names
from nvscope.lab.subject import Subject
from nvscope.lab.workloads.bugs import BUGS
from nvscope.probes.errors import InputError

# Behind the kernel, each with its own colon.
_OPTION = re.compile(r"(.+):(revmap|bug)=([^:]*)")


@dataclass(frozen=True)
class Candidate:
    """A kernel that is tried, and how it is booted.

    name: as the user wrote it; kernel: what is booted; revmap: the lab's own reverse map is used;
    bug: a name of workloads.bugs that the lab's kernel makes, "" for none.
    """

    name: str
    kernel: Subject
    revmap: bool = True
    bug: str = ""

    @property
    def machine(self) -> Mapping[str, object]:
        """The fields of machine.Machine in which its hosts differ from others'."""
        bug = f"kvm-arm.nested_revmap_bug={BUGS[self.bug].number}" if self.bug else ""
        return {"revmap": self.revmap, "append": bug}

    def prepare(self, with_selftests: bool) -> Assets:
        """Make, or find in the cache, all that booting it needs. Raises LackError, InputError."""
        return assets.prepare(self.kernel, with_selftests=with_selftests)


def parse(text: str) -> Candidate:
    """KERNEL[:revmap=on|off][:bug=NAME]. Raises InputError: one line, with the remedy.

    >>> parse("lab:revmap=off").revmap, parse("lab:bug=lost-record").bug
    (False, 'lost-record')
    """
    word, options = text, dict[str, str]()
    while match := _OPTION.fullmatch(word):
        word = match[1]
        if match[2] in options:
            raise InputError(f"{text}: {match[2]}= is there twice")
        options[match[2]] = match[3]
    kernel = _kernel(text, word)
    if options and not kernel.built:
        raise InputError(f"{text}: {' and '.join(options)} is for kernels that are built here")
    if options.get("revmap", "on") not in ("on", "off"):
        raise InputError(f"{text}: revmap= is on or off")
    if options.get("bug", next(iter(BUGS))) not in BUGS:
        raise InputError(f"{text}: no such mistake; there are {', '.join(BUGS)}")
    return Candidate(text, kernel, options.get("revmap", "on") == "on", options.get("bug", ""))


def _kernel(text: str, word: str) -> Subject:
    if word in build.FLAVOURS:
        return Subject(word)
    if Path(word).is_dir():
        return Subject("lab", Path(word))
    try:
        names.wanted(word)
    except ValueError:
        raise InputError(
            f"{text}: {word!r} is none of {', '.join(assets.KERNELS)}, nor a version such as"
            f" {names.EXAMPLES}, nor a source tree"
        ) from None
    return Subject(word)
