"""Root file systems in memory: the archives that the kernel unpacks, and the machine for them."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from nvscope.lab.host.machine import (
    METRICS_PORT,
    SSH_PORT,
    Machine,
    Share,
    kernel_command_line,
    qemu_arguments,
)
from nvscope.lab.host.remote import Remote
from nvscope.lab.host.vm import Lab
from nvscope.lab.setup import cpio, memory
from nvscope.probes.errors import LackError

IN_MEMORY = Machine(Path("/Image"), Path("/initrd"), in_memory=True)


def unpacked(archive: Path, into: Path) -> Path:
    """What cpio(1) makes of an archive."""
    into.mkdir()
    with archive.open("rb") as data:
        subprocess.run(["cpio", "-i", "-d", "-m", "--quiet"], stdin=data, cwd=into, check=True)
    return into


def test_an_archive_has_contents_modes_times_and_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sbin").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o700)
    for size in range(5):  # all paddings
        (root / f"file{size}").write_bytes(b"x" * size)
    (root / "sbin/init").write_text("#!")
    (root / "sbin/init").chmod(0o755)
    (root / "link").symlink_to("sbin")
    (root / "dangling").symlink_to("/nowhere")
    with (tmp_path / "archive").open("wb") as out:
        cpio.write(out, cpio.tree(root))
    found = unpacked(tmp_path / "archive", tmp_path / "found")
    assert (found / "link").readlink() == Path("sbin")
    assert (found / "dangling").readlink() == Path("/nowhere")
    for path in root.rglob("*"):
        other = found / path.relative_to(root)
        assert other.lstat().st_mode == path.lstat().st_mode
        if path.is_file():
            assert other.read_bytes() == path.read_bytes()
            assert int(other.stat().st_mtime) == int(path.stat().st_mtime)


def test_all_in_an_archive_is_roots() -> None:
    fields = cpio.header("a", 1, 0o100644, 0, 0)[6:]
    assert fields[16:32] == b"0" * 16  # uid, gid


def test_a_file_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with (tmp_path / "archive").open("wb") as out:
        cpio.write(out, [("gone", tmp_path / "gone"), ("file", tmp_path / "file")])
    found = unpacked(tmp_path / "archive", tmp_path / "found")
    assert [path.name for path in found.iterdir()] == ["file"]


def test_without_room_for_it_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(memory, "initrd", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LackError, match="No space left on device"):
        Lab(IN_MEMORY, tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_shares_follow_the_root(tmp_path: Path) -> None:
    checkout, artifacts = tmp_path / "checkout", tmp_path / "artifacts"
    for name in (
        "setup.cfg",
        "lab/commands/cli.py",
        ".git/HEAD",
        ".venv/x",
        "build/x",
        "lab/__pycache__/x",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    artifacts.mkdir()
    for name in ("Image", "l1.bin"):
        (artifacts / name).touch()
    root = tmp_path / "root"
    root.write_bytes(b"root")
    memory.initrd(
        root, [Share("src", checkout), Share("artifacts", artifacts)], tmp_path / "initrd"
    )
    data = (tmp_path / "initrd").read_bytes()
    assert data[:10] == b"root070701"
    (tmp_path / "second").write_bytes(data[4:])
    (tmp_path / "found/mnt").mkdir(parents=True)
    with (tmp_path / "second").open("rb") as archive:
        command = ["cpio", "-i", "--quiet"]
        subprocess.run(command, stdin=archive, cwd=tmp_path / "found", check=True)
    files = {
        str(path.relative_to(tmp_path / "found/mnt"))
        for path in (tmp_path / "found").rglob("*")
        if path.is_file()
    }
    assert files == {"src/setup.cfg", "src/lab/commands/cli.py", "artifacts/l1.bin"}


def test_of_installed_code_only_ours_is_shared(tmp_path: Path) -> None:
    for name in ("nvscope/lab/cli.py", "numpy/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [name for name, _ in memory.shared(Share("src", tmp_path))]
    assert found == ["mnt/src", *(f"mnt/src/nvscope{each}" for each in ("", "/lab", "/lab/cli.py"))]


def test_what_is_not_used_is_pruned(tmp_path: Path) -> None:
    kept = (
        "usr/bin/python3.13", "usr/lib/aarch64-linux-gnu/libclang-cpp.so.19.1",
        "usr/lib/aarch64-linux-gnu/libLLVM.so.19.1", "usr/lib/aarch64-linux-gnu/libsystemd.so.0",
        "usr/lib/python3/dist-packages/pyarrow/libarrow.so.2600",
    )  # fmt: skip
    dropped = (
        "usr/bin/qemu-system-aarch64", "usr/sbin/biolatency-bpfcc", "usr/src/linux/Makefile",
        "usr/lib/systemd/systemd", "usr/lib/aarch64-linux-gnu/libclang-19.so.19",
        "usr/lib/python3/dist-packages/pyarrow/libarrow_flight.so.2600",
    )  # fmt: skip
    for name in kept + dropped:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    memory.prune(tmp_path)
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in dropped)


def test_nothing_is_pruned_that_the_exporter_imports() -> None:
    packages = "usr/lib/python3/dist-packages"
    for name in ("bcc", "click", "h11", "prometheus_client", "psutil", "pyroute2", "rich", "yaml"):
        assert not any(Path(packages, name).match(pattern) for pattern in memory.UNUSED)


def test_a_machine_in_memory_has_a_serial_port_and_no_disk() -> None:
    ports = {SSH_PORT: 40022, METRICS_PORT: 49810}
    share = Share("src", Path("/src"))
    text = " ".join(qemu_arguments(IN_MEMORY, Path("/root"), [share], Path("/log"), ports))
    assert "socket,id=ssh,host=127.0.0.1,port=40022,server=on,wait=off" in text
    assert "virtserialport,chardev=ssh,name=ssh" in text
    assert "-initrd /initrd" in text
    assert not any(word in text for word in ("blk", "net", "virtfs", "49810", "/src"))


def test_the_kernel_takes_its_init_from_memory() -> None:
    words = kernel_command_line(IN_MEMORY).split()
    assert "rdinit=/usr/sbin/init" in words
    assert not any(word.startswith("root") for word in words)


def test_the_port_of_the_metrics_goes_over_ssh() -> None:
    remote = Remote(40022, Path("/keys"), Path("/control"), forwards={49810: METRICS_PORT})
    words = remote.arguments("true")
    assert words[words.index("-L") + 1] == "127.0.0.1:49810:127.0.0.1:9810"
    assert "-L" not in Remote(40022, Path("/keys"), Path("/control")).arguments("true")
