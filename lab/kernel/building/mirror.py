"""A copy of a user's source tree, patched, which a later build brings up to date.

The tree itself is only read. What has not changed keeps its time in the copy, whatever became of it
in the tree meanwhile (another branch, and back), so that make builds no more than it must.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Container, Sequence
from pathlib import Path

from nvscope.lab.kernel import tree
from nvscope.lab.kernel.building import patching
from nvscope.lab.setup import steps

Stamps = dict[str, list[object]]
TOLD_FILES = 500


def update(source: Path, patches: Sequence[Path], copy: Path, tell: steps.Tell) -> None:
    """Make the copy what the tree is now, with the patches applied.

    Beside the copy a file keeps what the tree's files were when they were compared. Raises
    InputError where a patch does not apply; the copy is then as it was.
    """
    tell("looking for what has changed")
    origins = {name: source / name for name in tree.files(source)}
    scratch = copy.with_suffix(".patched")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    _patch(origins, patches, scratch)
    known = _read(copy)
    stamps = {name: tree.stamp(path) for name, path in origins.items()}
    changed = [
        name
        for name, stamp in stamps.items()
        if known.get(name) != stamp or not os.path.lexists(copy / name)
    ]
    # Where this is interrupted, nothing is known of the copy, and all is compared the next time.
    _stamps_of(copy).unlink(missing_ok=True)
    _remove(copy, stamps)
    for number, name in enumerate(changed):
        if number % TOLD_FILES == 0:
            tell(f"comparing {len(changed)} files, {100 * number // len(changed)} %")
        _bring(origins[name], copy / name)
    _stamps_of(copy).write_text(json.dumps(stamps))
    shutil.rmtree(scratch)


def _patch(origins: dict[str, Path], patches: Sequence[Path], scratch: Path) -> None:
    """Replace in `origins` what patches change by files below `scratch`."""
    names = patching.touched(patches)
    for name in names & origins.keys():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origins[name], scratch / name)
    patching.apply(patches, scratch)
    for name in names:
        if (scratch / name).exists():
            origins[name] = scratch / name
        else:
            origins.pop(name, None)


def _bring(origin: Path, target: Path) -> None:
    """Make one file of the copy what it is in the tree; the same content is left alone."""
    if origin.is_symlink():
        if not (target.is_symlink() and target.readlink() == origin.readlink()):
            _clear(target)
            target.symlink_to(origin.readlink())
        return
    same = not target.is_symlink() and target.is_file()
    if not (same and filecmp.cmp(origin, target, shallow=False)):
        _clear(target)
        # Whole or not at all: what is half copied would be taken for this file the next time.
        partial = target.with_name(f"{target.name}.partial")
        shutil.copyfile(origin, partial)
        partial.rename(target)
    target.chmod(origin.stat().st_mode & 0o777 | 0o600)


def _clear(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif target.is_symlink():
        target.unlink()


def _remove(copy: Path, names: Container[str]) -> None:
    """Remove from the copy what the tree does not have."""
    for folder, _, files in os.walk(copy):
        at = Path(folder).relative_to(copy)
        for name in files:
            if (at / name).as_posix() not in names:
                Path(folder, name).unlink()


def _read(copy: Path) -> Stamps:
    try:
        known = json.loads(_stamps_of(copy).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(known)


def _stamps_of(copy: Path) -> Path:
    return copy.with_suffix(".stamps")
