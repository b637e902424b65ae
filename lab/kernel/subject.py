"""What a lab is to boot: a kernel by name, an image, or a source to build; as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel.building import build
from nvscope.probes.errors import InputError

# What is made of a kernel's source.
BUILT_BY = ("source", "patches", "configs")
_OPTIONS = {"source": "--source", "patches": "--patch", "configs": "--config"}


@dataclass(frozen=True)
class Subject:
    """A kernel that is wanted.

    kernel: "lab", "debug", or what kernel/names.py knows: "stock", "6.18", "7.2.12-rt". image: a
    kernel that is booted as it is, in its place; initrd: goes with that. source: a tree or tarball
    to build instead of Debian's source and its patches; patches: applied besides; configs:
    fragments that come after ours. Raises InputError where these do not go together.
    """

    kernel: str = "lab"
    image: Path | None = None
    initrd: Path | None = None
    source: Path | None = None
    patches: tuple[Path, ...] = ()
    configs: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        given = [_OPTIONS[name] for name in BUILT_BY if getattr(self, name)]
        if self.initrd and not self.image:
            raise InputError("--initrd goes with --image: give that too")
        if self.image and given:
            raise InputError(f"--image is booted as it is: {given[0]} has nothing to build")
        if given and not self.built:
            known = " or ".join(build.FLAVOURS)
            raise InputError(
                f"{given[0]} needs a kernel that is built here: --kernel {known}, not {self.kernel}"
            )

    @property
    def built(self) -> bool:
        """Whether it is built here."""
        return self.image is None and self.kernel in build.FLAVOURS

    @property
    def is_named(self) -> bool:
        """Whether its name says all of it: no file, tree, patch or setting is given."""
        return self.image is None and not any(getattr(self, name) for name in BUILT_BY)


def subject(wanted: Subject | str) -> Subject:
    """A word for a kernel is a whole subject.

    >>> subject("6.18") == Subject("6.18")
    True
    """
    return Subject(wanted) if isinstance(wanted, str) else wanted
