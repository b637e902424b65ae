"""A user's source tree: its identity, and the copy in which it is built, patched and again."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nvscope.lab.kernel import source, tools, tree
from nvscope.lab.kernel.building import build, mirror, work
from nvscope.lab.kernel.building.build import Extras
from nvscope.probes.errors import InputError, LackError

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


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True)


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


def age(path: Path) -> None:
    """Make it ten seconds older, so that a new time can be told."""
    for each in [path, *path.rglob("*")]:
        status = each.lstat()
        times = (status.st_atime_ns, status.st_mtime_ns - 10**10)
        os.utime(each, ns=times, follow_symlinks=False)


# ---- identity


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


# ---- the copy


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


def test_a_copy_is_the_tree(linux: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    assert contents(copied) == contents(linux)
    assert (copied / "link").readlink() == Path(KCONFIG)
    assert os.access(copied / "script", os.X_OK)


def test_only_what_has_changed_has_a_new_time(linux: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    age(copied)
    before = times(copied)
    (linux / NESTED).write_text("int changed;\n")
    os.utime(linux / KCONFIG)
    copy(linux, tmp_path)
    after = times(copied)
    assert {name for name in after if after[name] != before[name]} == {NESTED}
    assert contents(copied) == contents(linux)


def test_an_older_file_is_new_in_the_copy(linux: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    before = (copied / NESTED).stat().st_mtime_ns
    (linux / NESTED).write_text("int older;\n")
    os.utime(linux / NESTED, ns=(0, 0))
    copy(linux, tmp_path)
    assert (copied / NESTED).stat().st_mtime_ns >= before
    assert (copied / NESTED).read_text() == "int older;\n"


def test_another_branch_and_back_changes_no_time(repository: Path, tmp_path: Path) -> None:
    copied = copy(repository, tmp_path)
    age(copied)
    before = times(copied)
    text = (repository / NESTED).read_text()
    (repository / NESTED).write_text("int branch;\n")
    (repository / NESTED).write_text(text)
    copy(repository, tmp_path)
    assert times(copied) == before


def test_what_an_interrupted_update_has_brought_is_not_trusted(
    linux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = copy(linux, tmp_path)
    text, status = (linux / NESTED).read_text(), (linux / NESTED).stat()
    (linux / NESTED).write_text("int other_;\n")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(mirror.json, "dumps", interrupt)
        copy(linux, tmp_path)
    assert (copied / NESTED).read_text() == "int other_;\n"
    # Back, with the old time: by that alone it would be what it was.
    (linux / NESTED).write_text(text)
    os.utime(linux / NESTED, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy(linux, tmp_path)
    assert (copied / NESTED).read_text() == text


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_name_that_is_no_text(linux: Path, tmp_path: Path) -> None:
    (linux / os.fsdecode(b"\xff.c")).touch()
    assert tree.identity(linux)
    assert (copy(linux, tmp_path) / os.fsdecode(b"\xff.c")).exists()


def test_what_is_gone_goes(linux: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    (linux / NESTED).unlink()
    (linux / "arch/arm64/kvm").rmdir()
    (linux / "arch/arm64/kvm").write_text("a file now")
    copy(linux, tmp_path)
    assert contents(copied) == contents(linux)


def test_a_copy_that_was_interrupted_is_mended(linux: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    (copied / NESTED).write_text("int ne")
    (copied / "half.partial").touch()
    (tmp_path / "copy.stamps").unlink()
    copy(linux, tmp_path)
    assert contents(copied) == contents(linux)


def test_patches_are_in_the_copy_alone(linux: Path, patch: Path, tmp_path: Path) -> None:
    before = contents(linux)
    copied = copy(linux, tmp_path, patch)
    assert (copied / NESTED).read_text() == "int nested;\nint patched;\n"
    assert (copied / "arch/arm64/kvm/new.c").exists()
    assert contents(linux) == before


def test_a_patch_that_stays_changes_no_time(linux: Path, patch: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path, patch)
    age(copied)
    before = times(copied)
    copy(linux, tmp_path, patch)
    assert times(copied) == before


def test_a_patch_that_goes_is_undone(linux: Path, patch: Path, tmp_path: Path) -> None:
    copy(linux, tmp_path, patch)
    assert contents(copy(linux, tmp_path)) == contents(linux)


def test_a_patch_that_does_not_apply(linux: Path, patch: Path, tmp_path: Path) -> None:
    copied = copy(linux, tmp_path)
    before = contents(copied)
    patch.write_text(f"--- a/{NESTED}\n+++ b/{NESTED}\n@@ -1 +1 @@\n-int other;\n+int mine;\n")
    with pytest.raises(InputError, match=r"mine\.patch does not apply: .*FAILED"):
        copy(linux, tmp_path, patch)
    assert contents(copied) == before
    patch.write_text(PATCH.replace("nested.c", "none.c"))
    with pytest.raises(InputError, match=r"mine\.patch does not apply"):
        copy(linux, tmp_path, patch)


def test_what_is_no_patch(linux: Path, patch: Path) -> None:
    patch.write_text("hello\n")
    with pytest.raises(InputError, match=r"mine\.patch is no patch: it changes no file"):
        build.key(source.given(linux), "lab", Extras((patch,)))


def test_a_patch_does_not_leave_the_tree(linux: Path, patch: Path, tmp_path: Path) -> None:
    patch.write_text("--- /dev/null\n+++ b/../../evil\n@@ -0,0 +1 @@\n+x\n")
    with pytest.raises(InputError):
        copy(linux, tmp_path, patch)
    assert not list(tmp_path.rglob("evil"))


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
