"""What a lab is to boot, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import build


@dataclass(frozen=True)
class Subject:
    """A kernel that is wanted.

    kernel: "lab", "debug", or what kernel/names.py knows: "stock", "6.18", "7.2.12-rt"; source: a
    tree or tarball to build instead of Debian's source.
    """

    kernel: str = "lab"
    source: Path | None = None

    @property
    def built(self) -> bool:
        """Whether it is built here."""
        return self.kernel in build.FLAVOURS


def subject(wanted: Subject | str) -> Subject:
    """A word for a kernel is a whole subject.

    >>> subject("6.18") == Subject("6.18")
    True
    """
    return Subject(wanted) if isinstance(wanted, str) else wanted
