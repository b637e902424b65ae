"""Ends of processes: the kernel's filter, messages that cannot be read, and both ways for real."""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nvscope.probes.vms.exits import pidfds, procevents, sockfilter
from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector, Way

EXEC, COMM, EXIT = 2, 0x200, sockfilter.EVENT_EXIT
WAIT_SECONDS = 20


def message(what: int, data: bytes, ack: int = 0) -> bytes:
    """As the kernel sends it: struct nlmsghdr, struct cn_msg, struct proc_event."""
    event = struct.pack("=IIQ", what, 0, 0) + data.ljust(24, b"\0")
    body = struct.pack("=IIIIHH", 1, 1, 7, ack, len(event), 0) + event
    return struct.pack("=IHHII", 16 + len(body), 3, 0, 7, 0) + body


def ended(pid: int, thread: int | None = None) -> bytes:
    return message(EXIT, struct.pack("=II", thread or pid, pid))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(ours, the kernel's)"""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, kernels:
        yield ours, kernels


@pytest.fixture
def connector(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> Connector:
    pytest.importorskip("pyroute2.netlink.connector.cn_proc")
    monkeypatch.setattr(procevents, "_listening", lambda _: ends[0])
    return Connector()


def test_exits_are_heard(connector: Connector, ends: tuple[socket.socket, socket.socket]) -> None:
    for pid in (40, 50):
        ends[1].send(ended(pid, pid + 1))
    assert connector.read() == ({40, 50}, False)
    assert connector.read() == (set(), False)


@pytest.mark.parametrize(
    "broken",
    [
        message(COMM, struct.pack("=II", 9, 9) + b"\xff\xfe"),  # UnicodeDecodeError in pyroute2
        ended(40)[:38],  # struct.error
        ended(40)[:60],
    ],
)
def test_what_cannot_be_read_is_lost_and_no_more(
    connector: Connector, ends: tuple[socket.socket, socket.socket], broken: bytes
) -> None:
    for each in (ended(40), broken, ended(50)):
        ends[1].send(each)
    assert connector.read() == ({40, 50}, True)
    assert connector.read() == (set(), False)


class Overrun:
    """A socket that had no room once."""

    def __init__(self) -> None:
        self.answers: list[Any] = [
            ended(40),
            OSError(errno.ENOBUFS, "No buffer space available"),
            ended(50),
            BlockingIOError(),
            OSError(errno.EBADF, "Bad file descriptor"),
        ]

    def recv(self, _: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)


def test_an_overrun_is_a_loss_and_other_errors_are_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyroute2.netlink.connector.cn_proc")
    monkeypatch.setattr(procevents, "_listening", lambda _: Overrun())
    connector = Connector()
    assert connector.read() == ({40, 50}, True)
    with pytest.raises(OSError, match="Bad file"):
        connector.read()


@pytest.mark.parametrize("count", [0, 1, 8, 9, 17, 600])
def test_the_kernel_takes_in_what_is_watched_alone(
    ends: tuple[socket.socket, socket.socket], count: int
) -> None:
    ours, kernels = ends
    # Their bytes look alike from either end.
    pids = [0x010001 + 2 * n for n in range(count)]
    sockfilter.attach(ours, sockfilter.exits_of(pids))
    for pid in range(0x010000, 0x010000 + 2 * count + 4):
        for each in (ended(pid, 7), message(EXEC, struct.pack("=II", pid, pid)), ended(7, pid)):
            kernels.send(each)
        heard = []
        while select.select([ours], [], [], 0)[0]:
            heard.append(ours.recv(100))
        assert heard == ([ended(pid, 7)] if pid in pids else []), hex(pid)
    kernels.send(b"short")
    assert not select.select([ours], [], [], 0)[0]


def test_too_many_for_a_filter_are_told_apart_here(
    connector: Connector, ends: tuple[socket.socket, socket.socket]
) -> None:
    connector.watch(set(range(100, 10_000)))
    for each in (ended(77), message(EXEC, struct.pack("=II", 78, 78)), ended(200)):
        ends[1].send(each)
    assert connector.read() == ({77, 200}, False)
    connector.watch({200})
    for pid in (77, 200):
        ends[1].send(ended(pid))
    assert connector.read() == ({200}, False)


def answer(code: int, ack: int) -> bytes:
    return message(0, struct.pack("=I", code), ack)


def test_the_kernels_answer(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, kernels = ends
    mine = os.getpid() + 1
    for each in (b"x", answer(errno.EPERM, mine + 1), answer(0, mine)):
        kernels.send(each)
    procevents._await_answer(ours)
    kernels.send(answer(errno.EPERM, mine))
    with pytest.raises(PermissionError):
        procevents._await_answer(ours)
    monkeypatch.setattr(procevents, "_ANSWER_SECONDS", 0.01)
    with pytest.raises(TimeoutError):  # another user namespace
        procevents._await_answer(ours)


def test_no_right_to_the_group() -> None:
    class Refused:
        class ProcEventSocket:
            closed = False

            def bind(self) -> None:
                raise KeyError("no free address available")

            def close(self) -> None:
                type(self).closed = True

    with pytest.raises(PermissionError):
        procevents._listening(Refused)
    assert Refused.ProcEventSocket.closed


def real(kind: type[Connector] | type[PidFds]) -> Way:
    try:
        return kind()
    except (ImportError, OSError) as error:
        pytest.skip(f"not to be had here: {error}")


@pytest.mark.parametrize("kind", [Connector, PidFds])
def test_a_real_process(kind: type[Connector] | type[PidFds]) -> None:
    way = real(kind)
    code = "import sys, threading as t; t.Thread(target=sys.stdin.read).start(); print(flush=True)"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        way.watch({child.pid})
        child.stdout.read(1)
        subprocess.run([sys.executable, "-c", ""], check=True)  # none of ours
        assert way.read() == (set(), False)
        child.stdin.close()
        assert select.select([way], [], [], WAIT_SECONDS)[0]
        assert way.read() == ({child.pid}, False)
    way.close()


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize("kind", [Connector, PidFds])
def test_no_file_stays_open(kind: type[Connector] | type[PidFds]) -> None:
    real(kind).close()
    before = _open_files()
    with subprocess.Popen(["sleep", "100"]) as child:
        way = real(kind)
        way.watch({child.pid, 1})
        way.watch({1})
        way.watch({child.pid})
        child.kill()
    assert select.select([way], [], [], WAIT_SECONDS)[0]
    way.read()
    way.watch({child.pid})  # gone by now
    way.close()
    assert _open_files() == before


def test_more_files_are_asked_for_and_not_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert pidfds._files() == 4096
    assert asked == [(4096, 4096)]

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert pidfds._files() == 1024


def test_pidfds_leave_files_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pidfds, "_files", lambda: pidfds.FILES_LEFT + 1)
    way = real(PidFds)
    before = _open_files()
    way.watch({1, os.getpid()})
    assert _open_files() == before + 1
    way.close()


MEMORY = """
import os, select, subprocess, sys
import prometheus_client, psutil, h11
from nvscope.exporter import cli
from nvscope.probes.vms.exits import procevents
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
before = resident()
way = procevents.Connector()
child = subprocess.Popen(["sleep", "100"])
way.watch({child.pid})
child.kill()
select.select([way], [], [], 20)
assert way.read() == ({child.pid}, False)
child.wait()
print(resident() - before, "pyroute2" in sys.modules, "pyroute2.iproute" in sys.modules)
"""


def test_little_of_pyroute2_is_imported() -> None:
    real(Connector).close()
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    grown, *imported = ran.stdout.split()
    assert imported == ["False", "False"]
    assert int(grown) < 8 << 20
