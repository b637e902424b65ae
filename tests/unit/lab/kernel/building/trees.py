"""A small source tree of a user's, and what tests do with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nvscope.lab.kernel.building import mirror

NESTED, KCONFIG = "arch/arm64/kvm/nested.c", "Kconfig"
PATCH = f"""\
--- a/{NESTED}
+++ b/{NESTED}
@@ -1 +1,2 @@
 int nested;
+int patched;
--- /dev/null
+++ b/arch/arm64/kvm/new.c
@@ -0,0 +1 @@
+int new;
"""


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True)


def age(path: Path) -> None:
    """Make it ten seconds older, so that a new time can be told."""
    for each in [path, *path.rglob("*")]:
        status = each.lstat()
        times = (status.st_atime_ns, status.st_mtime_ns - 10**10)
        os.utime(each, ns=times, follow_symlinks=False)


def copy(linux: Path, at: Path, *patches: Path) -> Path:
    target = at / "copy"
    target.mkdir(exist_ok=True)
    mirror.update(linux, patches, target, lambda _: None)
    return target


def contents(root: Path) -> dict[str, str]:
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return {name: (root / name).read_text() for name in names if not name.startswith(".git")}


def times(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_mtime_ns for name in contents(root)}
