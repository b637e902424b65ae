"""Between systemd and us: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

from nvscope.probes.errors import InputError

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def notify(*states: str) -> None:
    """Send states, as "READY=1"; nothing where no service manager listens. Raises OSError."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address  # an abstract socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(name)
        sock.send("\n".join(states).encode())


def inherited_sockets() -> list[socket.socket]:
    """The listening sockets that systemd has made for us, if any. Raises InputError."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        raise InputError(f"LISTEN_FDS of the environment is no number: {count!r}")
    return [_inherited(fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]


def _inherited(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise InputError(f"file {fd} from systemd is no socket: {error.strerror}") from None
    if not listens or sock.type != socket.SOCK_STREAM:
        raise InputError(
            f"socket {fd} from systemd is not one of ListenStream= with Accept=no;"
            " correct the socket unit"
        )
    sock.set_inheritable(False)
    return sock


def watchdog_seconds() -> float | None:
    """How often it wants to hear "WATCHDOG=1", at least; None: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    asked = os.environ.get("WATCHDOG_USEC", "")
    return int(asked) / 1e6 if asked.isdecimal() and int(asked) else None
