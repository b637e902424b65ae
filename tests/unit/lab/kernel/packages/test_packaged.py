"""Packaged kernels: what a word means, what the archive has, and what boots without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.lab import assets
from nvscope.lab.host import running
from nvscope.lab.host.machine import Machine
from nvscope.lab.kernel import names, unpack
from nvscope.lab.kernel.packages import archive, packaged
from nvscope.lab.runs import demo
from nvscope.lab.setup import host
from nvscope.probes.errors import LackError
from tests.unit.lab.kernel.packages.fake_archive import RELEASES, UNREACHABLE, FakeApt, release


@pytest.fixture(autouse=True)
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    monkeypatch.setenv("NVSCOPE_CACHE", str(tmp_path))
    fake = FakeApt(tmp_path)
    monkeypatch.setattr(archive, "_apt", lambda: fake)
    monkeypatch.setattr(host, "ready", lambda *_: None)
    return fake


def cache(cache_folder: Path, name: str, kind: str = packaged.KIND) -> Path:
    """Have this kernel in the cache."""
    folder = cache_folder / kind / packaged._key(release(name))
    folder.mkdir(parents=True)
    if kind == packaged.KIND:
        (folder / "initrd").touch()
    (folder / "Image").write_bytes(b"x" * (3 << 20))
    return folder


def lab(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lab", *arguments], prog_name="nvscope")


# ---- words


@pytest.mark.parametrize(
    "word", ["", "6", "6.18.", "6.18.15.1", "6.18-4k", "v6.18", "6.18-rc1", " 6.18", "6.18-"]
)
def test_other_words_are_wrong_usage(word: str) -> None:
    done = lab("boot", "--kernel", word)
    assert done.exit_code == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith("Error: Invalid value for '--kernel'")
    assert "lab, debug, tracking, tracking-debug, stock, nor a version such as 6.18" in said


# ---- the archive


def test_kernels_built_here_are_not_looked_up(apt: FakeApt) -> None:
    assert (assets.identity("lab"), assets.identity("debug")) == ("lab", "debug")
    assert apt.reads == 0


@pytest.mark.parametrize("word", ["7.1", "7.1.13"])
def test_a_kernel_whose_modules_are_gone_has_no_initrd(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "image_of", lambda *_: None)
    found = packaged.get(names.wanted(word))
    assert (found.release.name, found.initrd) == ("7.1.13+deb13-arm64", None)
    assert found.folder.parent == tmp_path / packaged.IMAGE_KIND
    assert assets._packaged(word)[1].in_memory


def test_an_image_alone_is_enough_only_without_modules(apt: FakeApt, tmp_path: Path) -> None:
    archive.packages()
    for name in ("7.1.13+deb13-arm64", "7.3.4+deb13-arm64"):
        cache(tmp_path, name, packaged.IMAGE_KIND)
    assert [str(each) for each in packaged.cached()] == ["7.1.13"]
    apt.reachable = False
    assert assets._packaged("stock")[1].in_memory


def test_what_needs_a_disk_is_refused_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "Image", in_memory=True)
    ready = assets.Assets("7.1.13+deb13-arm64", machine, tmp_path, tmp_path)
    with pytest.raises(LackError, match=r"kernel 7\.1\.13.* without systemd$"):
        ready.boot(systemd=True)
    monkeypatch.setattr(demo, "prepare", lambda _: ready)
    done = lab("demo", "--kernel", "7.1", "--guest", "linux")
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert "--guest linux needs: choose another kernel" in done.stderr


@pytest.mark.parametrize(
    ("word", "there"),
    [
        ("6.18.99", "it has 6.18.9, 6.18.15"),
        ("6.18.9-16k", "it has 6.18.15-16k"),
        ("6.99", "it has the series 6.12, 6.18, 7.1, 7.3"),
        ("6.18-rt", "it has the series 7.0-rt"),
    ],
)
def test_what_the_archive_lacks_is_said_in_a_line(word: str, there: str) -> None:
    done = lab("run", "--kernel", word, "true")
    assert done.exit_code == 3
    assert done.stderr == (f"Error: the Debian archive has no kernel {word} for arm64; {there}\n")


def test_the_archive_is_read_once_a_day(apt: FakeApt) -> None:
    for _ in range(3):
        assets.identity("6.18")
    assert apt.reads == 1
    apt.packages.append("linux-image-6.18.16+deb13-arm64")
    apt.grow_old(archive.DAY_SECONDS - 60)
    assert assets.identity("6.18") == "6.18.15+deb13-arm64"
    apt.grow_old(archive.DAY_SECONDS + 60)
    assert assets.identity("6.18") == "6.18.16+deb13-arm64"
    assert apt.reads == 2


def test_what_was_not_there_today_is_looked_up_again(apt: FakeApt) -> None:
    assets.identity("6.18")
    apt.packages.append("linux-image-7.4.1+deb13-arm64")
    apt.grow_old(3600)
    assert assets.identity("7.4") == "7.4.1+deb13-arm64"


def test_only_packages_that_exist_are_fetched(apt: FakeApt, tmp_path: Path) -> None:
    archive.fetch(release("6.18.15+deb13-arm64"), tmp_path, print)
    assert apt.fetched == ["linux-image-6.18.15+deb13-arm64"]
    apt.fetched.clear()
    archive.fetch(release("7.3.4+deb13-arm64"), tmp_path, print)
    assert apt.fetched == [f"linux-{part}-7.3.4+deb13-arm64" for part in archive.PARTS]


# ---- without the archive


def test_an_exact_version_that_is_cached_needs_no_archive(apt: FakeApt, tmp_path: Path) -> None:
    folder = cache(tmp_path, "6.18.9+deb13-arm64")
    found = packaged.get(names.wanted("6.18.9"))
    assert (found.folder, apt.reads) == (folder, 0)


def test_a_series_falls_back_to_the_newest_cached(
    apt: FakeApt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apt.reachable = False
    for name in ("6.18.5+deb13-arm64", "6.18.9+deb13-arm64", "6.18.15+deb13-arm64-16k"):
        cache(tmp_path, name)
    assert str(packaged.get(names.wanted("6.18")).release) == "6.18.9"
    assert f"the newest kernel here for 6.18 is 6.18.9 ({UNREACHABLE})" in capsys.readouterr().err
    assert str(packaged.get(names.wanted("stock")).release) == "6.18.9"


def test_a_newer_one_that_cannot_be_fetched_now_leaves_the_cached(
    apt: FakeApt, tmp_path: Path
) -> None:
    assets.identity("6.18")
    apt.reachable = False
    cache(tmp_path, "6.18.9+deb13-arm64")
    assert str(packaged.get(names.wanted("6.18")).release) == "6.18.9"


@pytest.mark.parametrize("word", ["6.18", "6.18.15", "stock"])
def test_with_neither_archive_nor_cache_the_reason_is_said(apt: FakeApt, word: str) -> None:
    apt.reachable = False
    done = lab("run", "--kernel", word, "true")
    assert (done.exit_code, done.stderr) == (3, f"Error: {UNREACHABLE}\n")


def test_a_kernel_made_by_another_recipe_is_not_cached(tmp_path: Path) -> None:
    folder = cache(tmp_path, "6.18.9+deb13-arm64")
    folder.rename(folder.with_name("6.18.9+deb13-arm64_0123456789abcdef"))
    assert packaged.cached() == {}


# ---- what is up


def test_a_lab_is_found_by_what_its_kernel_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_alive", lambda _: True)
    entry = running.Running("6.18.15+deb13-arm64", 1, 0.0, 1, 1, "keys", "control")
    (running._folder()).mkdir()
    (running._folder() / "1.json").write_text(json.dumps(entry.__dict__))
    assert running.find(assets.identity("6.18")) == entry
    assert running.find(assets.identity("6.18.15")) == entry
    for other in ("6.18.9", "6.18-16k", "stock", "lab"):
        assert running.find(assets.identity(other)) is None


# ---- nvscope lab kernels


def test_kernels_as_json(tmp_path: Path) -> None:
    cache(tmp_path, "6.18.9+deb13-arm64")
    cache(tmp_path, "6.18.3+deb13-arm64")
    done = lab("kernels", "--json")
    rows = {row["kernel"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == [
        "7.3.4", "7.3.4-cloud", "7.1.13", "7.0.13-rt", "6.18.15", "6.18.15-16k", "6.18.9", "6.18.3",
        "6.12.107",
    ]  # fmt: skip
    assert rows["6.18.9"] == {
        "kernel": "6.18.9",
        "series": "6.18",
        "release": "6.18.9+deb13-arm64",
        "nested": True,
        "boots": True,
        "root": "disk",
        "cached_bytes": 3 << 20,
    }
    assert rows["6.18.3"]["boots"]
    assert not rows["7.3.4-cloud"]["boots"]
    assert (rows["7.1.13"]["boots"], rows["7.1.13"]["root"]) == (True, "memory")
    assert (rows["6.18.3"]["root"], rows["7.0.13-rt"]["root"]) == ("disk", "disk")
    assert not rows["6.12.107"]["nested"]


def test_kernels_as_a_table(tmp_path: Path) -> None:
    cache(tmp_path, "6.18.9+deb13-arm64")
    done = lab("kernels")
    rows = [line for line in done.stdout.splitlines() if line.strip()]
    lines = {line.split()[0]: line.rstrip() for line in rows}
    for shown in ("6.18.15", "6.18.9", "-16k", "(3 MiB)", "yes"):
        assert shown in lines["6.18"]
    assert lines["6.12"].endswith("no")
    assert lines["7.1"].endswith("yes, in RAM")
    assert lines["6.18"].endswith("yes")
    assert "Before 6.16 KVM runs no nested guests" in done.stdout


def test_kernels_without_the_archive(apt: FakeApt, tmp_path: Path) -> None:
    lab("kernels")
    apt.grow_old(archive.DAY_SECONDS + 60)
    apt.reachable = False
    done = lab("kernels", "--json")
    assert done.exit_code == 0
    assert UNREACHABLE in done.stderr
    assert len(done.stdout.splitlines()) == len(RELEASES)


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ("s", ["stock"]),
        ("6", ["6.12", "6.18"]),
        ("6.18.1", ["6.18.15", "6.18.15-16k"]),
    ],
)
def test_completion(beginning: str, expected: list[str], apt: FakeApt) -> None:
    archive.packages()
    apt.reachable = False
    words = f"nvscope lab boot --kernel {beginning}"
    env = {"_NVSCOPE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    done = CliRunner().invoke(main, prog_name="nvscope", env=env)
    assert done.output.splitlines() == [f"plain,{word}" for word in expected]
