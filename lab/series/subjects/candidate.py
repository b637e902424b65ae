"""The kernels of a series, as users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.lab import assets
from nvscope.lab.assets import Assets
from nvscope.lab.kernel import names
from nvscope.lab.kernel.building import build
from nvscope.lab.kernel.subject import Subject
from nvscope.lab.series.subjects.commits import Commit
from nvscope.lab.workloads.cases.bugs import BUGS, PARAMETERS, bugs_of
from nvscope.probes.errors import InputError

# Behind the kernel, each with its own colon.
_OPTION = re.compile(r"(.+):(revmap|bug|patch|config)=([^:]*)")
_ONCE = ("revmap", "bug")
_TARBALL = re.compile(r".*\.tar(\.\w+)?|.*\.t[gx]z")
Options = dict[str, list[str]]


@dataclass(frozen=True)
class Candidate:
    """A kernel that is tried, and how it is booted.

    name: as the user wrote it; kernel: what is booted; commit: of the tree that it is built from;
    revmap: a reverse map that can be turned off is on; bug: a name of cases.bugs that the
    lab's kernel makes, "" for none.
    """

    name: str
    kernel: Subject
    commit: Commit | None = None
    revmap: bool = True
    bug: str = ""

    @property
    def machine(self) -> Mapping[str, object]:
        """The fields of machine.Machine in which its hosts differ from others'."""
        append = ""
        if self.bug:
            made = BUGS[self.bug]
            append = f"kvm-arm.{PARAMETERS[made.revmap].name}={made.number}"
        return {"revmap": self.revmap, "append": append}

    @property
    def packaged(self) -> bool:
        """Whether it is as Debian has built it."""
        return not self.kernel.built and self.kernel.image is None

    @property
    def own(self) -> bool:
        """Whether it is built from Debian's source, of which the lab has KVM's selftests."""
        return self.kernel.built and self.kernel.source is None and self.commit is None

    def prepare(self, with_selftests: bool) -> Assets:
        """Make, or find in the cache, all that booting it needs. Raises LackError, InputError."""
        kernel = (
            replace(self.kernel, source=self.commit.check_out()) if self.commit else self.kernel
        )
        ready = assets.prepare(kernel, with_selftests=with_selftests)
        if not self.revmap:
            ready.require_revmap()
        return ready


def parse(text: str) -> Candidate:
    """KERNEL[:revmap=on|off][:bug=NAME][:patch=FILE][:config=FILE].

    Raises InputError: one line, with the remedy.

    >>> parse("lab:revmap=off").revmap, parse("lab:bug=lost-record").bug
    (False, 'lost-record')
    """
    word, options = text, Options()
    while match := _OPTION.fullmatch(word):
        word = match[1]
        options.setdefault(match[2], []).insert(0, match[3])
    _check(text, options)
    try:
        kernel, commit = _kernel(text, word, options)
    except InputError as error:
        if error.message.startswith(text):
            raise
        raise InputError(f"{text}: {error.message}") from None
    if "bug" in options:
        _check_bug(text, options["bug"][0], kernel, commit)
    if "revmap" in options and not kernel.built and kernel.image is None:
        raise InputError(f"{text}: Debian's kernels have no reverse map to turn on or off")
    revmap, bug = (options.get(name, [""])[0] for name in _ONCE)
    return Candidate(text, kernel, commit, revmap != "off", bug)


def _check(text: str, options: Options) -> None:
    for name in _ONCE:
        if len(options.get(name, ())) > 1:
            raise InputError(f"{text}: {name}= is there twice")
    if options.get("revmap", ["on"])[0] not in ("on", "off"):
        raise InputError(f"{text}: revmap= is on or off")
    for path in (*options.get("patch", ()), *options.get("config", ())):
        if not Path(path).is_file():
            raise InputError(f"{text}: {path}: no such file")


def _check_bug(text: str, bug: str, kernel: Subject, commit: Commit | None) -> None:
    if not kernel.built or kernel.source or commit:
        raise InputError(f"{text}: bug= is for the lab's own kernels: {', '.join(build.FLAVOURS)}")
    tracking = build.FLAVOURS[kernel.kernel].patches == build.TRACKING
    known = bugs_of("tracking" if tracking else "maple")
    if bug not in known:
        raise InputError(f"{text}: {kernel.kernel} has no such mistake; it has {', '.join(known)}")


def _kernel(text: str, word: str, options: Options) -> tuple[Subject, Commit | None]:
    patches = tuple(Path(path) for path in options.get("patch", ()))
    configs = tuple(Path(path) for path in options.get("config", ()))
    path, (tree, at, commit) = Path(word), word.rpartition("@")
    if word in assets.KERNELS:
        return Subject(word, patches=patches, configs=configs), None
    if path.is_dir() or (path.is_file() and _TARBALL.fullmatch(path.name)):
        return Subject(source=path, patches=patches, configs=configs), None
    if path.is_file():
        return Subject(image=path, patches=patches, configs=configs), None
    if at and Path(tree).is_dir():
        found = Commit(Path(tree), commit)
        found.check()
        return Subject(patches=patches, configs=configs), found
    try:
        names.wanted(word)
    except ValueError:
        raise InputError(
            f"{text}: {word!r} is none of {', '.join(assets.KERNELS)}, nor a version such as"
            f" {names.EXAMPLES}, a source tree, TREE@COMMIT or an Image"
        ) from None
    return Subject(word, patches=patches, configs=configs), None
