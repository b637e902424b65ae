"""Debian's own arm64 kernels, ready to boot: from the cache, or out of the archive."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import initramfs, names, unpack
from nvscope.lab.kernel.names import Release, WantedRelease
from nvscope.lab.kernel.packages import archive
from nvscope.lab.setup import steps, store
from nvscope.lab.setup.paths import cache_dir
from nvscope.probes.errors import LackError

KIND, IMAGE_KIND = "packaged", "images"


@dataclass(frozen=True)
class Packaged:
    """A kernel that is ready to boot; folder: has its Image and, with its modules, its initrd."""

    release: Release
    folder: Path

    @property
    def initrd(self) -> Path | None:
        """What loads its modules; None where they cannot be had, and its root is in memory."""
        path = self.folder / "initrd"
        return path if path.exists() else None


def resolve(wanted: WantedRelease) -> Release:
    """The kernel that these words mean now.

    An exact version that is cached is looked up nowhere. Where the archive is out of reach, it is
    the newest that is cached. Raises LackError where there is none.
    """
    here = wanted.among(cached())
    if wanted.exact and here:
        return here[-1]
    try:
        return archive.find(wanted)
    except archive.UnreachableError as error:
        return _instead(wanted, error)


def get(wanted: WantedRelease) -> Packaged:
    """The kernel that is wanted, fetched if it is not cached. Raises LackError."""
    release = resolve(wanted)
    try:
        return Packaged(release, build(release))
    except archive.UnreachableError as error:
        # The archive was in reach today, and is not now.
        release = _instead(wanted, error)
        return Packaged(release, build(release))


def build(release: Release) -> Path:
    """The folder with Image, config and initrd, made if it is not cached.

    Of a kernel whose modules are gone, it has the Image alone.
    """
    title = f"Debian's kernel {release}"
    here = cached().get(release)
    if here:
        steps.cached(title)
        return here
    if not archive.has_modules(release):
        return image(release).parent
    with steps.step(title) as tell:
        return store.artifact(KIND, _key(release), lambda folder: _make(folder, release, tell))


def image(release: Release) -> Path:
    """The Image alone, fetched if it is not cached; also of a kernel whose modules are gone."""
    for folder in (store.path_of(kind, _key(release)) for kind in (KIND, IMAGE_KIND)):
        if folder.is_dir():
            return folder / "Image"
    with steps.step(f"Image of Debian's kernel {release}") as tell:
        make = functools.partial(_make_image, release=release, tell=tell)
        return store.artifact(IMAGE_KIND, _key(release), make) / "Image"


def cached() -> dict[Release, Path]:
    """The kernels that need no archive, with the folders that `build` would return."""
    alone = _cached(IMAGE_KIND)
    return {k: v for k, v in alone.items() if not archive.has_modules(k)} | _cached(KIND)


def _cached(kind: str) -> dict[Release, Path]:
    ending = f"_{_recipe()}"
    found = {}
    for folder in (cache_dir() / kind).glob(f"*{ending}"):
        release = names.release(folder.name.removesuffix(ending))
        if release:
            found[release] = folder
    return found


def _instead(wanted: WantedRelease, error: LackError) -> Release:
    """What is cached, in place of what cannot be had."""
    here = wanted.among(cached())
    if not here:
        raise error
    steps.cached(f"the newest kernel here for {wanted} is {here[-1]} ({error.message})")
    return here[-1]


def _key(release: Release) -> str:
    return f"{release.name}_{_recipe()}"


def _recipe() -> str:
    return store.digest(Path(unpack.__file__), Path(initramfs.__file__), initramfs.INIT)


def _make(folder: Path, release: Release, tell: steps.Tell) -> None:
    debs = archive.fetch(release, folder, tell)
    debs.append(archive.fetch_one("busybox-static", folder, tell))
    tell("unpacking")
    unpack.all_of(release, debs, folder)


def _make_image(folder: Path, release: Release, tell: steps.Tell) -> None:
    debs = archive.fetch(release, folder, tell, ("image", "binary"))
    unpack.image_of(release, debs, folder)
