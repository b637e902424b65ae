"""Ways to hear at once that a process has ended.

The proc connector (drivers/connector/cn_proc.c, by pyroute2) tells of every fork, exec and exit of
the host, of which the first two say nothing about KVM: all but the exits that are asked for stay in
the kernel (bench/README.md has what that saves). A pidfd costs a file for each process, but needs
no rights, and works in any network namespace.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import socket
import struct
import sys
from collections.abc import Iterator, Set
from typing import Any, Protocol

from nvscope.probes.vms.exits import sockfilter

# The answer to the request to listen: the kernel gives none to another user namespace. Seconds.
_ANSWER_SECONDS = 1.0
_MESSAGE_BYTES = 4096  # a message is 76 bytes
_NLMSG_DONE = 3  # include/uapi/linux/netlink.h
_LISTEN = 1  # PROC_CN_MCAST_LISTEN, include/uapi/linux/cn_proc.h

Heard = tuple[set[int], bool]


class Way(Protocol):
    """Hears processes end. watch() and read() may be called by two threads."""

    name: str

    def fileno(self) -> int:
        """Is readable when there is something to read()."""

    def watch(self, pids: Set[int]) -> None:
        """From now on hear of these, and of no others."""

    def read(self) -> Heard:
        """Return what was heard since the last time: of which processes a thread, or all of it,
        has ended; and whether something was lost. Raises OSError when nothing will be heard again.
        """

    def close(self) -> None: ...


class Connector:
    """The kernel's proc connector, through pyroute2."""

    name = "connector"

    def __init__(self) -> None:
        """Raises ImportError where pyroute2 has no connector (0.7.2), and OSError in a network or
        user namespace of one's own, or without CAP_NET_ADMIN where the kernel wants that."""
        with _lean_pyroute2():
            module = importlib.import_module("pyroute2.netlink.connector.cn_proc")
            self._marshal = module.ProcEventMarshal()
            self._socket = _listening(module)
        self._pids: Set[int] = frozenset()

    def fileno(self) -> int:
        return self._socket.fileno()

    def watch(self, pids: Set[int]) -> None:
        if pids == self._pids:
            return
        try:
            sockfilter.attach(self._socket, sockfilter.exits_of(pids))
        except OSError:  # too many for a filter
            sockfilter.attach(self._socket, sockfilter.only(sockfilter.EVENT_EXIT))
        self._pids = frozenset(pids)

    def read(self) -> Heard:
        pids: set[int] = set()
        lost = False
        while True:
            try:
                pids |= self._pids_in(self._socket.recv(_MESSAGE_BYTES))
            except BlockingIOError:
                return pids, lost
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
            except (struct.error, ValueError, KeyError):  # a command that is no UTF-8; cut short
                lost = True

    def _pids_in(self, message: bytes) -> set[int]:
        events = list(self._marshal.parse(message))
        if not events:
            raise ValueError("a message that was cut short")
        return {e["process_tgid"] for e in events if e["what"] == sockfilter.EVENT_EXIT}

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def _lean_pyroute2() -> Iterator[None]:
    """Import parts of pyroute2 without its __init__, which imports all of it: 9 MiB."""
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or "pyroute2" in sys.modules:
        yield
        return
    sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules["pyroute2"]


def _listening(module: Any) -> socket.socket:
    """A socket that hears nothing yet, but was told by the kernel that it may."""
    opened = module.ProcEventSocket()
    try:
        try:
            opened.bind()
        except KeyError:  # it tries many ports, and says no more than that none would do
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
        sock = socket.socket(fileno=os.dup(opened.fileno()))
        try:
            sockfilter.attach(sock, sockfilter.only(sockfilter.EVENT_NONE))
            sock.send(_request(module))
            _await_answer(sock)
            sockfilter.attach(sock, sockfilter.exits_of(()))
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
    finally:
        opened.close()
    return sock


def _request(module: Any) -> bytes:
    message = module.proc_event_control()
    message["header"].update(type=_NLMSG_DONE, flags=0, sequence_number=0, pid=0)
    message["action"] = _LISTEN
    message["idx"] = module.CN_IDX_PROC
    message["val"] = module.CN_VAL_PROC
    message["ack"] = os.getpid()  # comes back, plus 1: answers go to all who listen
    message["len"] = 4
    message.reset()
    message.encode()
    return bytes(message.data)


def _await_answer(sock: socket.socket) -> None:
    """Not by pyroute2, which waits for ever, and takes a refusal for consent."""
    sock.settimeout(_ANSWER_SECONDS)
    while True:
        answer = sock.recv(_MESSAGE_BYTES)
        if len(answer) < sockfilter.PROCESS_AT:
            continue
        (number,) = struct.unpack_from("=I", answer, 28)  # cn_msg.ack
        if number == os.getpid() + 1:
            (code,) = struct.unpack_from("=I", answer, sockfilter.DATA_AT)  # proc_event.ack.err
            if code:
                raise OSError(code, os.strerror(code))
            return
