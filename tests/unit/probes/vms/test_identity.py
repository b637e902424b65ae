"""Which VM a thread id belongs to, from a /proc of files and from real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.errors import LackError
from nvscope.probes.vms import identity
from nvscope.probes.vms.identity import Identities, Vm
from tests.unit.exporter.fakes import FakeProc

UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def qemu(name: str) -> bytes:
    return f"qemu\0-name\0guest={name},debug-threads=on\0-uuid\0{UUID}\0".encode()


def test_thread_to_process(proc: FakeProc) -> None:
    proc.start(40, qemu("db"))
    proc.thread(43, 40)
    key = VmKey(0xFF00, 43)
    assert Identities().refresh([key]) == {key: Vm("db", UUID, 40)}


def test_process_outlives_the_thread_that_made_the_vm(proc: FakeProc) -> None:
    proc.start(40, qemu("db"))
    proc.thread(43, 40)
    key, identities = VmKey(1, 43), Identities()
    identities.refresh([key])
    proc.end(43)
    assert key in identities.refresh([key])


def test_ended(proc: FakeProc) -> None:
    proc.start(40, qemu("db"))
    key, identities = VmKey(1, 40), Identities()
    identities.refresh([key])
    proc.end(40)
    assert identities.refresh([key]) == {}
    assert identities.refresh([VmKey(2, 41)]) == {}


def test_reused_pid_is_another_vm(proc: FakeProc) -> None:
    proc.start(40, qemu("db"), start=100)
    key, identities = VmKey(1, 40), Identities()
    identities.refresh([key])
    proc.end(40)
    proc.start(40, qemu("web"), start=999)
    # What is counted under the key is still the first VM's: it has to be dropped first.
    assert identities.refresh([key]) == {}
    assert identities.refresh([key])[key].label == "web"


def test_a_pid_that_is_reused_while_it_is_named(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.start(40, qemu("db"), start=100)
    cmdline = psutil.Process.cmdline

    def late(process: psutil.Process) -> list[str]:
        proc.end(40)
        proc.start(40, qemu("web"), start=999)
        return cmdline(process)

    monkeypatch.setattr(psutil.Process, "cmdline", late)
    assert Identities().refresh([VmKey(1, 40)]) == {}


def test_zombie(proc: FakeProc) -> None:
    key = VmKey(1, 40)
    proc.start(40, state="Z")
    assert Identities().refresh([key]) == {}
    proc.start(40, state="Z", threads=3)  # the first thread has ended, others have not
    assert Identities().refresh([key]) == {key: Vm("vmm", "", 40)}


def test_same_name_the_older_keeps_it(proc: FakeProc) -> None:
    proc.start(40, qemu("db"), start=500)
    proc.start(50, qemu("db"), start=100)
    younger, older, second = VmKey(1, 40), VmKey(2, 50), VmKey(3, 40)
    labels = {k: v.label for k, v in Identities().refresh([younger, older, second]).items()}
    assert labels == {older: "db", younger: "db@40", second: "db@40#2"}


def test_a_label_stays(proc: FakeProc) -> None:
    proc.start(40, qemu("db"), start=500)
    younger, older, identities = VmKey(1, 40), VmKey(2, 50), Identities()
    identities.refresh([younger])
    proc.start(50, qemu("db"), start=100)
    assert identities.refresh([younger, older])[younger].label == "db"
    assert identities.refresh([older])[older].label == "db@50"


def test_hostile_names(proc: FakeProc) -> None:
    proc.start(40, b"vmm\0-name\0a\xff\n\x1b[2J\0")
    proc.start(50, b"\xff\xfe\0", comm=b") \xff) Z (")
    one, two = VmKey(1, 40), VmKey(2, 50)
    vms = Identities().refresh([one, two])
    assert vms[one].label == "a\ufffd\ufffd\ufffd[2J"
    vms[two].label.encode()


def test_a_real_process() -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, "-name", "guest=real", "-uuid", UUID]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        key, identities = VmKey(1, child.pid), Identities()
        assert identities.refresh([key]) == {key: Vm("real", UUID, child.pid)}
    assert identities.refresh([key]) == {}


@pytest.fixture
def thread_id() -> Iterator[int]:
    end, ready, ids = threading.Event(), threading.Event(), []

    def body() -> None:
        ids.append(threading.get_native_id())
        ready.set()
        end.wait()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    yield ids[0]
    end.set()
    thread.join()


def test_a_real_thread(thread_id: int) -> None:
    key = VmKey(1, thread_id)
    assert Identities().refresh([key])[key].pid == psutil.Process().pid


def test_pid_namespace(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    identity.require_initial_pid_namespace()  # no such file: a kernel without pid namespaces
    (proc.root / "self").mkdir()
    (proc.root / "self" / "ns").mkdir()
    (proc.root / "self" / "ns" / "pid").touch()
    with pytest.raises(LackError, match="initial pid namespace"):
        identity.require_initial_pid_namespace()
