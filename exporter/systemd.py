"""Between systemd and us: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

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


def inherited_socket() -> socket.socket | None:
    """The listening socket that systemd has made for us, if any. Raises ValueError where there are
    several, or it is none.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if count != "1":
        raise ValueError(f"{count} sockets from systemd; one is served")
    sock = socket.socket(fileno=_FIRST_FD)
    sock.set_inheritable(False)
    return sock


def watchdog_seconds() -> float | None:
    """How often it wants to hear "WATCHDOG=1", at least; None: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    asked = os.environ.get("WATCHDOG_USEC", "")
    return int(asked) / 1e6 if asked.isdecimal() and int(asked) else None
