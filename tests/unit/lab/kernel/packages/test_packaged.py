"""Packaged kernels: what a word means, what the archive has, and what boots without it."""

from __future__ import annotations

import json
import lzma
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nvscope.cli import main
from nvscope.lab import assets
from nvscope.lab.host import running
from nvscope.lab.host.machine import Machine
from nvscope.lab.kernel import initramfs, names, unpack
from nvscope.lab.kernel.names import Release, WantedRelease
from nvscope.lab.kernel.packages import archive, packaged
from nvscope.lab.runs import demo
from nvscope.lab.setup import host
from nvscope.probes.errors import LackError

RELEASES = (
    "6.12.107+deb13-arm64",
    "6.18.9+deb13-arm64",
    "6.18.15+deb13-arm64",
    "6.18.15+deb13-arm64-16k",
    "7.0.13+deb13-rt-arm64",
    "7.1.13+deb13-arm64",
    "7.3.4+deb13-arm64",
    "7.3.4+deb13-cloud-arm64",
)
OTHERS = (
    "linux-image-arm64",
    "linux-image-6.12.107+deb13-arm64-unsigned",
    "linux-image-6.18.15+deb13-arm64-dbg",
    "linux-image-6.1.0-40-armmp",
)
UNREACHABLE = "apt-get update failed: Could not connect"


def release(name: str) -> Release:
    found = names.release(name)
    assert found
    return found


class FakeApt:
    """An archive with RELEASES, but for the modules of 7.1.13; counts how often it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "apt/kernels"
        self.folder.mkdir(parents=True)
        self.packages = [f"linux-image-{name}" for name in RELEASES] + list(OTHERS)
        self.packages += [f"linux-{part}-7.3.4+deb13-arm64" for part in archive.PARTS[1:]]
        self.packages += ["linux-binary-7.1.13+deb13-arm64"]
        self.reachable = True
        self.reads = 0
        self.fetched: list[str] = []

    def update(self) -> None:
        if not self.reachable:
            raise LackError(UNREACHABLE)
        self.reads += 1

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.packages if name.startswith(prefix))

    def download_only(self, package: str, into: Path) -> Path:
        if not self.reachable:
            raise LackError(UNREACHABLE)
        self.fetched.append(package)
        return into / f"{package}.deb"

    def grow_old(self, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(self.folder / "names", (then, then))


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
    ("word", "expected"),
    [
        ("stock", WantedRelease(())),
        ("6.18", WantedRelease((6, 18))),
        ("6.18-16k", WantedRelease((6, 18), "16k")),
        ("7.0.13-rt", WantedRelease((7, 0, 13), "rt")),
        ("7.3-cloud", WantedRelease((7, 3), "cloud")),
    ],
)
def test_words(word: str, expected: WantedRelease) -> None:
    assert names.wanted(word) == expected
    assert str(expected) == word


@pytest.mark.parametrize(
    "word", ["", "6", "6.18.", "6.18.15.1", "6.18-4k", "v6.18", "6.18-rc1", " 6.18", "6.18-"]
)
def test_other_words_are_wrong_usage(word: str) -> None:
    done = lab("boot", "--kernel", word)
    assert done.exit_code == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith("Error: Invalid value for '--kernel'")
    assert "lab, debug, tracking, tracking-debug, stock, nor a version such as 6.18" in said


def test_names_of_other_kernels_are_none() -> None:
    for name in ("6.18.15+deb13-amd64", "6.12.107+deb13-arm64-unsigned", "7.4~rc2-arm64", "arm64"):
        assert names.release(name) is None


def test_versions_are_ordered_by_number() -> None:
    found = names.wanted("6.18").among([release(name) for name in reversed(RELEASES)])
    assert [str(each) for each in found] == ["6.18.9", "6.18.15"]


# ---- the archive


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("6.18", "6.18.15+deb13-arm64"),
        ("6.18.9", "6.18.9+deb13-arm64"),
        ("6.18-16k", "6.18.15+deb13-arm64-16k"),
        ("7.0-rt", "7.0.13+deb13-rt-arm64"),
        ("stock", "7.3.4+deb13-arm64"),
    ],
)
def test_the_newest_that_will_do(word: str, expected: str) -> None:
    assert assets.identity(word) == expected


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


# ---- what goes into the initramfs


def modules(folder: Path, dependencies: str, built_in: str = "") -> Path:
    """A /usr with what depmod writes; the function that runs it is to be replaced."""
    place = folder / "usr/lib/modules/1.0"
    place.mkdir(parents=True)
    (place / "modules.dep").write_text(dependencies)
    (place / "modules.builtin").write_text(built_in)
    return folder / "usr"


@pytest.fixture
def no_depmod(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr("subprocess.run", nothing)


@pytest.mark.usefixtures("no_depmod")
def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    usr = modules(
        tmp_path,
        "kernel/9p.ko.xz: kernel/9pnet.ko.xz kernel/netfs.ko.xz\n"
        "kernel/9pnet.ko.xz:\nkernel/netfs.ko.xz:\nkernel/virtio-rng.ko.xz:\n"
        "kernel/9pnet_virtio.ko.xz: kernel/9pnet.ko.xz\nkernel/virtio_net.ko.xz:\n",
        "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/fs/ext4.ko\n",
    )
    names_of = [path.name.removesuffix(".ko.xz") for path in initramfs.load_order(usr, "1.0")]
    assert names_of == ["virtio_net", "netfs", "9pnet", "9p", "9pnet_virtio", "virtio-rng"]


@pytest.mark.usefixtures("no_depmod")
def test_a_kernel_without_a_driver_that_is_needed_is_refused(tmp_path: Path) -> None:
    built_in = "".join(f"kernel/{name}.ko\n" for name in initramfs.NEEDED if "9p" not in name)
    usr = modules(tmp_path, "kernel/zram.ko.xz:\n", built_in)
    with pytest.raises(LackError, match=r"kernel 1\.0: it has no driver 9p, 9pnet_virtio$"):
        initramfs.load_order(usr, "1.0")


def test_modules_are_decompressed(tmp_path: Path) -> None:
    for name, data in (("a.ko", b"elf"), ("b.ko.xz", lzma.compress(b"elf"))):
        (tmp_path / name).write_bytes(data)
        assert initramfs._decompressed(tmp_path / name) == b"elf"
    (tmp_path / "c.ko.new").touch()
    with pytest.raises(LackError, match=r"c\.ko\.new"):
        initramfs._decompressed(tmp_path / "c.ko.new")


@pytest.mark.parametrize("place", ["boot/{0}-{1}", "usr/lib/modules/{1}/{0}"])
def test_image_and_configuration_are_found_in_old_and_new_places(
    tmp_path: Path, place: str
) -> None:
    kernel = release("7.3.4+deb13-arm64")
    path = tmp_path / place.format("vmlinuz", kernel.name)
    path.parent.mkdir(parents=True)
    path.touch()
    assert unpack.part(tmp_path, kernel, "vmlinuz") == path
    with pytest.raises(LackError, match="have no config"):
        unpack.part(tmp_path, kernel, "config")
