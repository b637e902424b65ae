"""What systemd is told, on a socket like its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nvscope.exporter.systemd import inherited_socket, notify, watchdog_seconds


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


# As systemd does: the socket is file descriptor 3 of the process whose pid the variable has.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2]}
from nvscope.exporter.systemd import inherited_socket
print(inherited_socket().getsockname()[1])
"""


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_socket_of_systemds(count: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = subprocess.run(
            [sys.executable, "-c", ACTIVATED, str(sock.fileno()), count],
            capture_output=True, text=True, check=False, pass_fds=[sock.fileno()],
        )  # fmt: skip
        port = sock.getsockname()[1]
    if count == "1":
        assert int(done.stdout) == port
    else:
        assert "2 sockets from systemd; one is served" in done.stderr


def test_a_socket_of_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert inherited_socket() is None
