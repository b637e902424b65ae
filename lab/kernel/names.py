"""The names of packaged kernels: the words that users ask with, and Debian's names for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

STOCK = "stock"
EXAMPLES = "6.18, 6.18.15, 6.18-16k or 7.2.12-rt"
# KVM runs nested guests on arm64 (KVM_CAP_ARM_EL2) from this series on.
FIRST_NESTED = (6, 16)

_WORD = re.compile(r"(\d+\.\d+(?:\.\d+)?)(?:-(16k|rt|cloud))?")
_RELEASE = re.compile(r"(\d+\.\d+\.\d+)\+deb[\d.]+-(?:(rt|cloud)-)?arm64(?:-(16k))?")


@dataclass(frozen=True, order=True)
class Release:
    """A kernel that Debian has packaged.

    version: its numbers, (6, 18, 15); flavour: "", "16k" (pages of 16 KiB), "rt" or "cloud";
    name: what `uname -r` says in it.
    """

    version: tuple[int, ...]
    flavour: str
    name: str

    @property
    def series(self) -> tuple[int, ...]:
        """The first two numbers of the version."""
        return self.version[:2]

    @property
    def nested(self) -> bool:
        """Whether KVM runs nested guests in it."""
        return self.series >= FIRST_NESTED

    def __str__(self) -> str:
        return _joined(self.version, self.flavour)


@dataclass(frozen=True)
class WantedRelease:
    """What a user asked for. version: all of it, or the beginning that it is to have."""

    version: tuple[int, ...]
    flavour: str = ""

    @property
    def exact(self) -> bool:
        """Whether only one version will do."""
        return len(self.version) == 3

    def among(self, releases: Iterable[Release]) -> list[Release]:
        """Those that will do, oldest first."""
        length = len(self.version)
        return sorted(
            each
            for each in releases
            if each.version[:length] == self.version and each.flavour == self.flavour
        )

    def __str__(self) -> str:
        return _joined(self.version, self.flavour) if self.version else STOCK


def wanted(word: str) -> WantedRelease:
    """What a word asks for; "stock" is the newest of all. Raises ValueError for other words.

    >>> wanted("6.18"), str(wanted("7.0.13-rt")), wanted("stock")
    (WantedRelease(version=(6, 18), flavour=''), '7.0.13-rt', WantedRelease(version=(), flavour=''))
    """
    if word == STOCK:
        return WantedRelease(())
    match = _WORD.fullmatch(word)
    if not match:
        raise ValueError(f"{word!r} is no kernel version: give one such as {EXAMPLES}")
    return WantedRelease(numbers(match[1]), match[2] or "")


def release(name: str) -> Release | None:
    """The release of which this is the name; None where it is not a kernel for arm64.

    >>> str(release("6.18.15+deb13-arm64-16k")), str(release("7.0.13+deb13-rt-arm64"))
    ('6.18.15-16k', '7.0.13-rt')
    >>> release("6.12.107+deb13-arm64-unsigned")
    """
    match = _RELEASE.fullmatch(name)
    return Release(numbers(match[1]), match[2] or match[3] or "", name) if match else None


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers.

    >>> numbers("6.18.15")
    (6, 18, 15)
    """
    return tuple(map(int, version.split(".")))


def dotted(version: Iterable[int]) -> str:
    """A version as text.

    >>> dotted((6, 18))
    '6.18'
    """
    return ".".join(map(str, version))


def _joined(version: Iterable[int], flavour: str) -> str:
    return dotted(version) + (f"-{flavour}" if flavour else "")
