"""Where a kernel is built: for a tarball a folder that goes, for a user's tree one that stays.

The next build of that tree, in its copy in the cache, compiles what has changed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.kernel import tree
from nvscope.lab.kernel.building import mirror, patching
from nvscope.lab.kernel.source import SourceTree
from nvscope.lab.setup import steps, store
from nvscope.probes.errors import LackError

# 1.8 GiB of source and 1.9 GiB of objects, as measured, and room to link.
NEEDED_BYTES = 6 << 30
AGAIN_BYTES = 1 << 30


@dataclass(frozen=True)
class Place:
    """tree: the source, patched; objects: what make makes of it; fresh: nothing is made yet."""

    tree: Path
    objects: Path
    fresh: bool


def needed_bytes(source: SourceTree, flavour: str) -> int:
    """How much room a build takes."""
    return AGAIN_BYTES if source.is_tree and _objects(source, flavour).exists() else NEEDED_BYTES


def prepare(
    source: SourceTree, flavour: str, patches: Sequence[Path], folder: Path, tell: steps.Tell
) -> Place:
    """Have the source, patched, and a folder for objects. folder: for what is not to stay.

    The caller holds the lock of kernels. Raises InputError where a patch does not apply, LackError
    where a tree is changed meanwhile.
    """
    if source.is_tree:
        return _kept(source, flavour, patches, tell)
    tell("unpacking the source")
    unpacked = source.unpack(folder)
    for patch in patches:
        tell(f"applying {patch.name}")
        patching.apply([patch], unpacked)
    objects = folder / "objects"
    objects.mkdir()
    return Place(unpacked, objects, fresh=True)


def _kept(source: SourceTree, flavour: str, patches: Sequence[Path], tell: steps.Tell) -> Place:
    home, objects = _home(source), _objects(source, flavour)
    (home / "source").mkdir(parents=True, exist_ok=True)
    (home / "path").write_text(f"{source.path.resolve()}\n")
    try:
        mirror.update(source.path, patches, home / "source", tell)
        changed = tree.identity(source.path) != source.identity
    except FileNotFoundError:
        changed = True
    except OSError as error:
        raise LackError(f"{error.filename or source.path}: {error.strerror}") from None
    if changed:
        raise LackError(f"{source.path} was changed while it was read: build it again")
    fresh = not objects.exists()
    objects.mkdir(exist_ok=True)
    drop_halves(objects)
    return Place(home / "source", objects, fresh)


def drop_halves(objects: Path) -> None:
    """Remove what a compiler that was killed had begun: a .cmd file is written when it is done.

    make itself removes these when it is ended, unless that is by SIGKILL.
    """
    for command in objects.rglob(".*.cmd"):
        target = command.with_name(command.name[1:].removesuffix(".cmd"))
        if target.is_file() and command.stat().st_mtime_ns < target.stat().st_mtime_ns:
            target.unlink()


def _home(source: SourceTree) -> Path:
    return store.path_of("trees", store.digest(str(source.path.resolve())))


def _objects(source: SourceTree, flavour: str) -> Path:
    return _home(source) / f"objects-{flavour}"
