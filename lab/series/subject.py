"""What a series is made of: kernels, as users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nvscope.lab import assets
from nvscope.lab.assets import Assets
from nvscope.lab.kernel import build, names
from nvscope.lab.workloads.bugs import BUGS
from nvscope.probes.errors import InputError

# Behind the kernel, each with its own colon: patches and fragments may be several.
_OPTION = re.compile(r"(.+):(revmap|bug|patch|config)=([^:]*)")
_ON_OFF = ("on", "off")


@dataclass(frozen=True)
class Subject:
    """A kernel to be tried.

    text: as the user wrote it, which is also its name; kernel: a word of `--kernel`, a source tree,
    TREE@COMMIT or an Image; bug: a name of workloads.bugs, "" for none.
    """

    text: str
    kernel: str
    revmap: bool = True
    bug: str = ""
    patches: tuple[Path, ...] = ()
    configs: tuple[Path, ...] = ()
    packaged: bool = field(default=False)

    @property
    def machine(self) -> Mapping[str, object]:
        """The fields of lab.machine.Machine in which its hosts differ from others'."""
        bug = f"kvm-arm.nested_revmap_bug={BUGS[self.bug].number}" if self.bug else ""
        return {"revmap": self.revmap, "append": bug}


def parse(text: str) -> Subject:
    """A subject as on the command line. Raises InputError: one line, with the remedy.

    >>> parse("lab:revmap=off").revmap, parse("lab:bug=lost-record").bug
    (False, 'lost-record')
    """
    kernel, options = text, list[tuple[str, str]]()
    while match := _OPTION.fullmatch(kernel):
        kernel = match[1]
        options.insert(0, (match[2], match[3]))
    given = dict(options)
    for name in ("revmap", "bug"):
        if [key for key, _ in options].count(name) > 1:
            raise InputError(f"{text}: {name}= is there twice")
    _check(text, kernel, given)
    return Subject(
        text,
        kernel,
        revmap=given.get("revmap", "on") == "on",
        bug=given.get("bug", ""),
        patches=_files(text, "patch", options),
        configs=_files(text, "config", options),
        packaged=kernel not in build.FLAVOURS,
    )


def prepare(subject: Subject, with_selftests: bool) -> Assets:
    """Make, or find in the cache, all that booting it needs. Raises LackError, InputError."""
    return assets.prepare(subject.kernel, with_selftests=with_selftests)


def _check(text: str, kernel: str, given: Mapping[str, str]) -> None:
    if given.get("revmap", "on") not in _ON_OFF:
        raise InputError(f"{text}: revmap= is on or off")
    if "bug" in given and given["bug"] not in BUGS:
        raise InputError(f"{text}: no such mistake; there are {', '.join(BUGS)}")
    if kernel not in build.FLAVOURS:
        try:
            names.wanted(kernel)
        except ValueError:
            raise InputError(
                f"{text}: {kernel!r} is none of {', '.join(assets.KERNELS)}, nor a version such as"
                f" {names.EXAMPLES}"
            ) from None
        for name in ("revmap", "bug", "patch", "config"):
            if name in given:
                raise InputError(f"{text}: {name}= is for kernels that are built here")


def _files(text: str, name: str, options: list[tuple[str, str]]) -> tuple[Path, ...]:
    found = tuple(Path(value) for key, value in options if key == name)
    for path in found:
        if not path.is_file():
            raise InputError(f"{text}: {path}: no such file")
    return found
