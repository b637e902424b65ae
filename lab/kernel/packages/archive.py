"""The kernels in Debian's archive: which there are, and how one is fetched.

The names of the packages are kept, so that no apt runs and nothing is looked up for a kernel that
is in the cache already; they are read afresh once a day.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nvscope.lab.kernel import names
from nvscope.lab.kernel.names import Release, WantedRelease
from nvscope.lab.setup import steps, store
from nvscope.lab.setup.apt import Apt
from nvscope.lab.setup.rootfs import guest_apt
from nvscope.probes.errors import LackError

DAY_SECONDS = 24 * 3600
# Lists that are so old may name files that the archive has replaced.
RECENT_SECONDS = 600

# Up to 6.18 linux-image-RELEASE has all of a kernel. From 6.19 on linux-binary- has the Image,
# linux-modules- the modules and linux-base- the configuration.
PARTS = ("image", "binary", "modules", "base")


class UnreachableError(LackError):
    """The archive cannot be read now; what is cached will have to do."""


def packages(max_age_seconds: float = DAY_SECONDS) -> list[str]:
    """The names of the kernels' packages, at most so old. Raises UnreachableError."""
    if _age() > max_age_seconds:
        with store.locked("archive"):
            if _age() > max_age_seconds:  # nobody else has read it meanwhile
                _read()
    return known()


def known() -> list[str]:
    """The same as they were when they were last read; empty if they never were."""
    try:
        return _index().read_text().split()
    except FileNotFoundError:
        return []


def releases(package_names: Iterable[str]) -> list[Release]:
    """The kernels whose Image is in these packages, oldest first."""
    prefix = "linux-image-"
    found = (
        names.release(name.removeprefix(prefix))
        for name in package_names
        if name.startswith(prefix)
    )
    return sorted(each for each in found if each)


def whole(package_names: Iterable[str]) -> list[Release]:
    """Those of them whose modules are there too: a mirror keeps an old Image longer than these."""
    there = set(package_names)
    return [
        each
        for each in releases(there)
        if f"linux-binary-{each.name}" not in there or f"linux-modules-{each.name}" in there
    ]


def has_modules(release: Release) -> bool:
    """Whether the archive had its modules when it was last read."""
    return release in whole(known())


def find(wanted: WantedRelease) -> Release:
    """The newest in the archive that will do.

    Raises LackError where there is none, UnreachableError where that cannot be looked up.
    """
    # What is not in today's lists may have come since.
    for age in (DAY_SECONDS, RECENT_SECONDS):
        there = packages(age)
        found = wanted.among(releases(there))
        if found:
            return found[-1]
    raise LackError(_not_there(wanted, there))


def fetch(
    release: Release, into: Path, tell: steps.Tell, parts: Iterable[str] = PARTS
) -> list[Path]:
    """Fetch the packages of one kernel, without what they need. parts: of PARTS.

    Nothing is resolved: much that old kernels depend on is no longer there. Raises
    UnreachableError.
    """
    tell("fetching package lists")
    there = set(packages(RECENT_SECONDS))
    wanted = (f"linux-{part}-{release.name}" for part in parts)
    return [fetch_one(package, into, tell) for package in wanted if package in there]


def fetch_one(package: str, into: Path, tell: steps.Tell) -> Path:
    """Fetch one package of the guest's Debian. Raises UnreachableError."""
    tell(f"fetching {package}")
    try:
        return _apt().download_only(package, into)
    except LackError as error:
        raise UnreachableError(error.message) from None


def _not_there(wanted: WantedRelease, packages: list[str]) -> str:
    there = releases(packages)
    series = WantedRelease(wanted.version[:2], wanted.flavour).among(there)
    if series:
        has = ", ".join(map(str, series))
    else:
        of_flavour = {each.series for each in there if each.flavour == wanted.flavour}
        listed = (str(WantedRelease(each, wanted.flavour)) for each in sorted(of_flavour))
        has = f"the series {', '.join(listed) or 'of none'}"
    return f"the Debian archive has no kernel {wanted} for arm64; it has {has}"


def _apt() -> Apt:
    # Where the archive is out of reach, what is cached does: that is not to take long.
    return replace(guest_apt("kernels"), retries=1)


def _index() -> Path:
    return _apt().folder / "names"


def _age() -> float:
    """Seconds since the archive was read."""
    try:
        return time.time() - _index().stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _read() -> None:
    try:
        _apt().update()
    except LackError as error:
        raise UnreachableError(error.message) from None
    prefixes = [f"linux-{part}-" for part in PARTS]
    listed = [name for prefix in prefixes for name in _apt().names(prefix)]
    kernels = [name for name in listed if names.release(name.split("-", 2)[2])]
    partial = _index().with_suffix(".partial")
    partial.write_text("".join(f"{name}\n" for name in kernels))
    partial.rename(_index())
