"""A user's source tree, plain and as a repository, and a patch for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.lab.kernel import tools
from tests.unit.lab.kernel.building.trees import (
    KCONFIG,
    NESTED,
    PATCH,
    git,
)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is empty, and a compiler that is not asked."""
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "versions", lambda *commands: [f"{c} 1.0" for c in commands])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A tree that git does not know."""
    root = tmp_path / "linux"
    for name, text in ((NESTED, "int nested;\n"), (KCONFIG, "config X\n"), ("a b", "é")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link").symlink_to(KCONFIG)
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o755)
    return root


@pytest.fixture
def repository(plain: Path) -> Path:
    """The same as a repository, of which a commit ignores objects."""
    (plain / ".gitignore").write_text("*.o\n.config\n")
    git(plain, "init", "-q")
    git(plain, "add", "-A")
    git(plain, "commit", "-q", "-m", "all")
    return plain


@pytest.fixture(params=["plain", "repository"])
def linux(request: pytest.FixtureRequest) -> Path:
    """Either."""
    root: Path = request.getfixturevalue(request.param)
    return root


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    path = tmp_path / "mine.patch"
    path.write_text(PATCH)
    return path
