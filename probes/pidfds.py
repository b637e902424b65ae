"""Hears processes end by a file descriptor for each: a way of procevents.py."""

from __future__ import annotations

import os
import resource
import select
import threading
from collections.abc import Set

from nvscope.probes.procevents import Heard

# Files that pidfds leave to others: the server's connections (500), the maps, and some more.
_FILES_LEFT = 600
_FILES_WANTED = 16384


class PidFds:
    """A file descriptor for each process, which is readable when that has ended, all of it."""

    name = "pidfd"

    def __init__(self) -> None:
        """Raises OSError where the kernel (before 5.3) or a seccomp filter has none."""
        os.close(os.pidfd_open(os.getpid()))
        self._most = _files() - _FILES_LEFT
        self._files: dict[int, int] = {}
        self._poll = select.epoll()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._poll.fileno()

    def watch(self, pids: Set[int]) -> None:
        """What there are no files for is not heard."""
        with self._lock:
            for pid in self._files.keys() - pids:
                os.close(self._files.pop(pid))
            for pid in sorted(pids - self._files.keys())[: self._most - len(self._files)]:
                try:
                    file = os.pidfd_open(pid)
                except ProcessLookupError:  # it has just ended
                    continue
                except OSError:  # the host has no more files, either
                    return
                self._files[pid] = file
                self._poll.register(file, select.EPOLLIN)

    def read(self) -> Heard:
        with self._lock:
            files = {file for file, _ in self._poll.poll(0)}
            ended = {pid for pid, file in self._files.items() if file in files}
            for pid in ended:
                os.close(self._files.pop(pid))
        return ended, False

    def close(self) -> None:
        self.watch(frozenset())
        self._poll.close()


def _files() -> int:
    """How many files may be open, after asking for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, _FILES_WANTED))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except OSError:  # a filter of system calls, such as systemd's ~@resources
        return soft
    return wanted
