"""What systemd is told, on a socket like its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nvscope.exporter.systemd import inherited_sockets, notify, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_states_reach_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"{'@' if abstract else ''}{tmp_path / 'notify'}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=serving")
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("60000000", "ours", 60), ("60000000", None, 60), ("60000000", "1", None),
     ("0", None, None), ("soon", None, None), (None, None, None)],
)  # fmt: skip
def test_how_often_the_watchdog_wants_to_hear(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "ours" else value)
    assert watchdog_seconds() == seconds


# As systemd does: the sockets are files 3, 4, … of the process whose pid the variable has.
ACTIVATED = """
import os, sys
for number, fd in enumerate(sys.argv[2:], 100):
    os.dup2(int(fd), number)
for number in range(len(sys.argv[2:])):
    os.dup2(100 + number, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1]}
from nvscope.exporter.systemd import inherited_sockets
from nvscope.probes.errors import InputError
try:
    print(*(sock.getsockname()[1] for sock in inherited_sockets()))
except InputError as error:
    sys.exit(error.message)
"""


def activated(count: str, *sockets: socket.socket) -> subprocess.CompletedProcess[str]:
    files = [sock.fileno() for sock in sockets]
    return subprocess.run(
        [sys.executable, "-c", ACTIVATED, count, *map(str, files)],
        capture_output=True, text=True, check=False, pass_fds=files,
    )  # fmt: skip


def test_sockets_of_systemds() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [one.getsockname()[1], two.getsockname()[1]]
        assert activated("1", one).stdout == f"{ports[0]}\n"
        assert activated("2", one, two).stdout == f"{ports[0]} {ports[1]}\n"


def test_a_socket_that_is_none_to_serve() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as silent:
        for each in (datagrams, silent):
            assert activated("1", each).stderr == (
                "socket 3 from systemd is not one of ListenStream= with Accept=no;"
                " correct the socket unit\n"
            )
    assert activated("many").stderr == "LISTEN_FDS of the environment is no number: 'many'\n"


def test_a_socket_of_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert inherited_sockets() == []
