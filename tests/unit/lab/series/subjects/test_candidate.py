"""The kernels of a series, in the words of users."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.lab.series.subjects.candidate import parse
from nvscope.lab.workloads.cases.bugs import bugs_of
from nvscope.probes.errors import InputError


def test_what_a_subject_is_booted_with() -> None:
    assert parse("stock").machine == {"revmap": True, "append": ""}
    off = parse("lab:revmap=off")
    assert (off.name, off.kernel.kernel, off.machine["revmap"]) == ("lab:revmap=off", "lab", False)
    for name, bug in bugs_of("maple").items():
        made = parse(f"lab:revmap=on:bug={name}")
        assert made.machine["append"] == f"kvm-arm.nested_revmap_bug={bug.number}"
    for name, bug in bugs_of("tracking").items():
        made = parse(f"tracking:bug={name}")
        assert made.machine["append"] == f"kvm-arm.guest_s2_bug={bug.number}"


def test_source_trees_and_images(tmp_path: Path) -> None:
    assert parse(str(tmp_path)).kernel.source == tmp_path
    assert parse(f"{tmp_path}:revmap=off").kernel.source == tmp_path
    assert not parse(str(tmp_path)).own
    (tmp_path / "Image").touch()
    (tmp_path / "a.patch").touch()
    (tmp_path / "linux.tar.xz").touch()
    assert parse(f"{tmp_path}/Image:revmap=off").kernel.image == tmp_path / "Image"
    assert parse(f"{tmp_path}/linux.tar.xz").kernel.source == tmp_path / "linux.tar.xz"
    patched = parse(f"lab:patch={tmp_path}/a.patch:revmap=off:patch={tmp_path}/Image")
    assert patched.kernel.patches == (tmp_path / "a.patch", tmp_path / "Image")
    assert patched.own and not patched.revmap
    with pytest.raises(InputError, match="nothing to build"):
        parse(f"{tmp_path}/Image:patch={tmp_path}/a.patch")


def git(tree: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    done = subprocess.run(
        ["git", *who, "-C", tree, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_commits_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked out beside the tree, which stays as it is; what is the same keeps its time."""
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path / "cache"))
    tree = tmp_path / "linux"
    tree.mkdir()
    git(tree, "init", "--quiet")
    for content in ("1", "2"):
        (tree / "Kconfig").write_text(content)
        (tree / "Makefile").write_text("all:")
        git(tree, "add", ".")
        git(tree, "commit", "--quiet", "-m", content)
    (tree / "Kconfig").write_text("3")
    before, after = parse(f"{tree}@HEAD~1"), parse(f"{tree}@HEAD:revmap=off")
    assert before.commit and after.commit and not before.own
    folder = before.commit.check_out()
    assert (folder / "Kconfig").read_text() == "1"
    time_ns = (folder / "Makefile").stat().st_mtime_ns
    (folder / "left.o").touch()
    assert after.commit.check_out() == folder
    assert (folder / "Kconfig").read_text() == "2"
    assert (folder / "Makefile").stat().st_mtime_ns == time_ns
    assert not (folder / "left.o").exists()
    assert (tree / "Kconfig").read_text() == "3"
    with pytest.raises(InputError, match="no such commit"):
        parse(f"{tree}@nonesuch")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonesuch", "'nonesuch' is none of lab, debug"),
        ("lab:revmap=maybe", "revmap= is on or off"),
        ("lab:bug=nonesuch", "lab has no such mistake; it has lost-record, "),
        ("tracking:bug=lost-record", "it has not-added, "),
        ("lab:bug=lost-record:bug=first-mmu", "bug= is there twice"),
        ("stock:revmap=off", "have no reverse map to turn"),
        ("stock:bug=lost-record", "bug= is for the lab's own"),
        ("stock:patch=/dev/null", "no such file"),
        ("lab:nonesuch=1", "'lab:nonesuch=1' is none of lab, debug"),
        ("lab\x1b[2J", "none of lab"),
    ],
)
def test_wrong_words_are_told_in_a_line(word: str, said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["lab", "series", "lab", word, "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.isprintable() is False
    assert not (tmp_path / "o").exists()
