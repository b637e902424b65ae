"""A user's source tree: which files are its source, and a name for the state that they are in."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nvscope.lab.setup import store
from nvscope.probes.errors import InputError, LackError

# As the kernel's Makefile tells that a tree was configured in place.
CONFIGURED = (".config", "include/config", "arch/arm64/include/generated")


def is_git(tree: Path) -> bool:
    """Whether git knows its files: a repository or a worktree, with a commit."""
    return (tree / ".git").exists() and _git(tree, "rev-parse", "HEAD", check=False) != b""


def files(tree: Path) -> list[str]:
    """The names of its source files, sorted: what git does not ignore, else all.

    Raises InputError for a tree that git does not know and that was built in: what is source there
    cannot be told.
    """
    if is_git(tree):
        listed = _git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
        return sorted(name for name in names if (tree / name).is_symlink() or _is_file(tree, name))
    built = [name for name in CONFIGURED if (tree / name).exists()]
    if built:
        raise InputError(
            f"{tree} was configured in place (it has {built[0]}): run `make ARCH=arm64 mrproper` in"
            " it, or make it a git repository"
        )
    return sorted(name for name in _walk(tree, "") if not name.startswith(".git/"))


def identity(tree: Path) -> str:
    """A name for its contents.

    Of a git tree: its commit, and all that was changed since or that git does not know. Of others:
    the place, and the sizes and times of all files.
    """
    if is_git(tree):
        head = _git(tree, "rev-parse", "HEAD").strip()
        changes = _git(tree, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD")
        unknown = _git(tree, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
        more = [part for name in sorted(unknown) if name for part in (name, _content(tree, name))]
        return f"git {head.decode()[:12]} {store.digest(head, changes, *more)}"
    stamps = (os.fsencode(f"{name} {stamp(tree / name)}") for name in files(tree))
    return f"tree {store.digest(os.fsencode(tree.resolve()), *stamps)}"


def stamp(path: Path) -> list[object]:
    """What tells that a file has changed: its link, or size, time and mode."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return [os.fspath(path.readlink())]
    return [status.st_size, status.st_mtime_ns, status.st_mode]


def _walk(folder: Path, at: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{at}{entry.name}/")
            elif entry.is_symlink() or entry.is_file():
                yield f"{at}{entry.name}"


def _is_file(tree: Path, name: str) -> bool:
    """Git knows files that are gone, and other repositories, which are folders."""
    return (tree / name).is_file()


def _content(tree: Path, name: bytes) -> bytes:
    path = tree / os.fsdecode(name)
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else b""


def _git(tree: Path, *arguments: str, check: bool = True) -> bytes:
    """What git prints; it writes nothing to the tree, whoever owns it. Raises InputError."""
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    # In a hook git has set its own variables, which are of another tree.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*command, "-C", tree, *arguments], capture_output=True, check=False, env=environment
        )
    except FileNotFoundError:
        raise LackError(f"{tree} is a git repository, and this machine lacks git") from None
    if done.returncode == 0:
        return done.stdout
    if not check:
        return b""
    reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
    raise InputError(f"git {arguments[0]} failed in {tree}: {reason[-1]}")
