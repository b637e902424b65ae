"""A user's source tree: its identity, and what is built of it under which key."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nvscope.lab.kernel import source, tree
from nvscope.lab.kernel.building import build, work
from nvscope.lab.kernel.building.build import Extras
from nvscope.probes.errors import InputError, LackError
from tests.unit.lab.kernel.building.trees import (
    NESTED,
    PATCH,
    copy,
    git,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_state_has_one_identity(linux: Path) -> None:
    assert source.given(linux) == source.given(linux)
    assert source.given(linux).given


@pytest.mark.parametrize("how", ["changed", "new", "gone", "link", "mode"])
def test_a_change_is_another(linux: Path, how: str) -> None:
    before = tree.identity(linux)
    if how == "changed":
        (linux / NESTED).write_text("int changed;\n")
    elif how == "new":
        (linux / "new.c").write_text("int new;\n")
    elif how == "gone":
        (linux / NESTED).unlink()
    elif how == "link":
        (linux / "link").unlink()
        (linux / "link").symlink_to(NESTED)
    else:
        (linux / "script").chmod(0o644)
    assert tree.identity(linux) != before


def test_what_git_does_not_know_counts_by_content(repository: Path) -> None:
    (repository / "new.c").write_text("int new;\n")
    first = tree.identity(repository)
    (repository / "new.c").write_text("int old;\n")
    assert tree.identity(repository) != first
    (repository / "new.c").unlink()
    (repository / "new.o").write_text("ignored")
    assert tree.identity(repository) == f"git {tree.identity(repository)[4:]}"


def test_of_a_repository_times_do_not_count(repository: Path) -> None:
    before = tree.identity(repository)
    os.utime(repository / NESTED)
    (repository / "made.o").touch()
    assert tree.identity(repository) == before


def test_a_worktree_of_the_same_commit_is_the_same(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--detach", str(tmp_path / "other"))
    assert tree.identity(tmp_path / "other") == tree.identity(repository)


def test_git_writes_nothing_to_the_tree(repository: Path) -> None:
    index = repository / ".git/index"
    os.utime(repository / NESTED)  # git status would note that it is the same
    before = index.read_bytes(), index.stat().st_mtime_ns
    tree.identity(repository)
    tree.files(repository)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_git_is_asked_of_the_tree_also_in_a_hook(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree.identity(repository)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert tree.identity(repository) == before


def test_one_that_was_configured_in_place(plain: Path) -> None:
    (plain / ".config").touch()
    with pytest.raises(
        InputError, match=r"configured in place \(it has \.config\): run `make ARCH"
    ):
        source.given(plain)


def test_of_a_repository_that_was_configured_in_place_the_source_is_copied(
    repository: Path, tmp_path: Path
) -> None:
    for name in (".config", "vmlinux.o"):
        (repository / name).touch()
    copied = copy(repository, tmp_path)
    assert (copied / NESTED).exists()
    assert not {".config", "vmlinux.o", ".git"} & {path.name for path in copied.iterdir()}


# ---- keys and objects


def test_our_patches_are_for_our_source_alone(linux: Path, patch: Path) -> None:
    ours = source.SourceTree(Path("/nowhere"), "7.3.4")
    assert build._patches(ours, "lab", Extras((patch,))) == [*build.patches("lab"), patch]
    assert build._patches(source.given(linux), "lab", Extras((patch,))) == [patch]


def test_all_that_a_user_gives_is_in_the_key(linux: Path, patch: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.config"
    mine.write_text("CONFIG_KASAN=y\n")
    given = source.given(linux)
    added = (Extras(), Extras((patch,)), Extras((), (mine,)), Extras((patch,), (mine,)))
    assert len({build.key(given, "lab", extras) for extras in added}) == 4
    assert len({build.name(given, "lab", extras) for extras in added}) == 4
    before = build.key(given, "lab", added[3])
    patch.write_text(PATCH.replace("patched", "other"))
    assert build.key(given, "lab", added[3]) != before


def test_objects_are_a_trees_and_a_flavours_own(linux: Path, tmp_path: Path) -> None:
    def prepared(root: Path, flavour: str) -> work.Place:
        return work.prepare(source.given(root), flavour, [], tmp_path, lambda _: None)

    lab, debug = prepared(linux, "lab"), prepared(linux, "debug")
    assert lab.fresh and debug.fresh
    assert lab.tree == debug.tree
    assert lab.objects != debug.objects
    assert not prepared(linux, "lab").fresh
    assert not lab.objects.is_relative_to(linux) and not lab.tree.is_relative_to(linux)
    given = source.given(linux)
    assert work.needed_bytes(given, "lab") < work.needed_bytes(
        source.SourceTree(patch_of(), "x"), "lab"
    )


def patch_of() -> Path:
    return Path("/nowhere/linux.tar.xz")


def test_what_a_killed_compiler_has_begun_goes(tmp_path: Path) -> None:
    for name in ("whole.o", ".whole.o.cmd", ".half.o.cmd", "half.o"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".half.o.cmd", ns=(0, 0))
    os.utime(tmp_path / "whole.o", ns=(0, 0))
    work.drop_halves(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "whole.o", ".whole.o.cmd", ".half.o.cmd",
    }  # fmt: skip


def test_a_build_that_fails_leaves_its_objects_and_no_kernel(
    linux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(make: list[str], *_: object) -> None:
        objects = Path(next(word for word in make if word.startswith("O="))[2:])
        (objects / "kept.o").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(build.config, "configure", lambda *_: [])
    monkeypatch.setattr(build.tools, "require_disk", lambda *_: None)
    monkeypatch.setattr(build, "_compile", fail)
    with pytest.raises(KeyboardInterrupt):
        build.build(source.given(linux))
    assert list((tmp_path / "cache/kernel").iterdir()) == []
    assert len(list((tmp_path / "cache/trees").glob("*/objects-lab/kept.o"))) == 1


def test_two_builds_of_a_tree_at_once_are_one(
    linux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []

    def compile_(make: list[str], *_: object) -> None:
        objects = Path(next(word for word in make if word.startswith("O="))[2:])
        compiled.append(objects)
        time.sleep(0.2)
        (objects / "arch/arm64/boot").mkdir(parents=True)
        for name in ("arch/arm64/boot/Image", ".config", "System.map"):
            (objects / name).touch()

    monkeypatch.setattr(build.config, "configure", lambda *_: [])
    monkeypatch.setattr(build.tools, "require_disk", lambda *_: None)
    monkeypatch.setattr(build, "_compile", compile_)
    given = source.given(linux)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build.build, (given, given))
    assert first == second
    assert len(compiled) == 1
    assert {path.name for path in first.iterdir()} == {"Image", "config", "System.map"}


def test_a_tree_that_changes_while_it_is_read_is_told(linux: Path, tmp_path: Path) -> None:
    given = source.given(linux)
    (linux / NESTED).write_text("int changed;\n")
    with pytest.raises(LackError, match="was changed while it was read"):
        work.prepare(given, "lab", [], tmp_path, lambda _: None)
