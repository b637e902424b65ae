"""The VMs that run, from a folder that looks like /proc."""

from __future__ import annotations

import click
import pytest

from nvscope.probes.errors import LackError
from nvscope.probes.vms import running_vms
from tests.unit.exporter.fakes import FakeProc

UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def start(proc: FakeProc, pid: int, cmdline: bytes, file: str = "anon_inode:kvm-vm") -> None:
    proc.start(pid, cmdline)
    (proc.root / str(pid) / "fd").mkdir()
    (proc.root / str(pid) / "fd/11").symlink_to(file)


def test_by_name_uuid_and_pid(proc: FakeProc) -> None:
    start(proc, 77, b"qemu\0-name\0guest=db\0-uuid\0" + UUID.encode() + b"\0")
    start(proc, 78, b"qemu\0-name\0guest=web\0")
    start(proc, 79, b"sshd\0", "socket:[1]")
    assert {vm.label for vm in running_vms.running()} == {"db", "web"}
    assert {running_vms.find(word).pid for word in ("db", UUID, "77")} == {77}


def test_errors_are_one_line(proc: FakeProc) -> None:
    start(proc, 1, b"init\0", "socket:[1]")
    with pytest.raises(LackError, match="no VM is running"):
        running_vms.find("db")
    for pid in (77, 78):
        start(proc, pid, b"qemu\0-name\0guest=db\0")
    with pytest.raises(click.UsageError, match="2 VMs are named db: give a pid, 77 or 78"):
        running_vms.find("db")
    with pytest.raises(click.UsageError, match=r"there is no VM web; there are db$"):
        running_vms.find("web")


def test_a_pid_that_is_another_vms_name(proc: FakeProc) -> None:
    start(proc, 77, b"qemu\0-name\0guest=db\0")
    start(proc, 78, b"qemu\0-name\0guest=77\0")
    with pytest.raises(click.UsageError) as caught:
        running_vms.find("77")
    said = caught.value.message
    assert "77 can be VM db (pid 77) or VM 77 (pid 78): give " in said
    assert said.endswith(("give db or 78", "give 78 or db"))
    assert (running_vms.find("db").pid, running_vms.find("78").pid) == (77, 78)


def test_a_name_that_leads_in_circles_is_told_by_uuid(proc: FakeProc) -> None:
    start(proc, 77, b"qemu\0-name\0guest=78\0-uuid\0" + UUID.encode() + b"\0")
    start(proc, 78, b"qemu\0-name\0guest=77\0")
    with pytest.raises(click.UsageError, match=f"give .*{UUID}"):
        running_vms.find("77")
    assert running_vms.find(UUID).pid == 77


@pytest.mark.parametrize("word", ["", " "])
def test_no_name_is_nobodys(proc: FakeProc, word: str) -> None:
    with pytest.raises(click.UsageError, match="give its name, uuid or pid"):
        running_vms.find(word)
    start(proc, 77, b"qemu\0-name\0guest=db\0")  # it has no uuid either
    with pytest.raises(click.UsageError, match="give its name, uuid or pid"):
        running_vms.find(word)
