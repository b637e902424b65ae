"""What is read of a VMM's process, from a folder that looks like /proc."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nvscope.probes.vms import vmm_process
from tests.unit.exporter.fakes import FakeProc


def test_by_its_file(proc: FakeProc) -> None:
    words = (b"vm", b"--api-socket", b"/run/vc/vm/4d1f/clh-api.sock", b"-name", b"x")
    proc.start(40, b"\0".join(words) + b"\0", comm=b"vm")
    assert vmm_process.name_and_uuid(40) == ("x", "")
    (proc.root / "40/exe").symlink_to("/opt/kata/bin/cloud-hypervisor")
    assert vmm_process.name_and_uuid(40) == ("4d1f", "")


def test_where_little_may_be_read(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.start(40, b"firecracker\0--id\0web\0", comm=b"firecracker")

    def denied(_: psutil.Process) -> list[str]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "cmdline", denied)
    assert vmm_process.name_and_uuid(40) == ("firecracker", "")


def test_no_process(proc: FakeProc) -> None:
    with pytest.raises(psutil.NoSuchProcess):
        vmm_process.name_and_uuid(40)


@contextlib.contextmanager
def running(file: Path, *words: str) -> Iterator[int]:
    """The pid of a shell that is called words[0], in a file of any name."""
    shell = shutil.which("sh")
    assert shell
    shutil.copy(shell, file)
    command = [words[0], "-c", "echo; read x", *words[1:]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, executable=file, **pipes) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_a_real_process_under_another_name(tmp_path: Path) -> None:
    file = tmp_path / "cloud-hypervisor"
    with running(file, "vm", "--api-socket", "/run/ch/db.sock") as pid:
        assert psutil.Process(pid).name() == "cloud-hyperviso"
        assert vmm_process.name_and_uuid(pid) == ("db", "")
        file.unlink()  # as an upgrade does
        assert vmm_process.name_and_uuid(pid) == ("db", "")
    with running(file, "microvm@web", "--api-socket", "/run/ch/db.sock") as pid:
        assert vmm_process.name_and_uuid(pid) == ("web", "")
