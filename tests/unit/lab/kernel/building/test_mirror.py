"""The copy in which a user's tree is built: brought up to date, patched, and again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvscope.lab.kernel import source, tree
from nvscope.lab.kernel.building import build, mirror
from nvscope.lab.kernel.building.build import Extras
from nvscope.probes.errors import InputError
from tests.unit.lab.kernel.building.trees import (
    KCONFIG,
    NESTED,
    PATCH,
    age,
    contents,
    copy,
    times,
)

pytestmark = pytest.mark.usefixtures("own_cache")


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
