"""Hears processes end by a file descriptor for each: a way of procevents.py."""

from __future__ import annotations

import errno
import logging
import os
import resource
import select
import threading
from collections.abc import Set

from nvscope.probes.vms.exits.procevents import Heard

# Files that pidfds leave to others: the server's connections (limits.py in exporter/web), maps and
# programs, /proc.
FILES_LEFT = 280
_FILES_WANTED = 16384

log = logging.getLogger(__name__)


class PidFds:
    """A file descriptor for each process, which is readable when that has ended, all of it.

    Of processes past the limit of open files (RLIMIT_NOFILE) nothing is heard, which is said once.
    """

    name = "pidfd"

    def __init__(self) -> None:
        """Raises OSError where the kernel (before 5.3) or a seccomp filter has none, or where no
        file is left for them.
        """
        os.close(os.pidfd_open(os.getpid()))
        files = _files()
        self._most = files - FILES_LEFT
        if self._most < 1:
            _say(f"with a limit of {files} open files none is left for the ends of processes")
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._files: dict[int, int] = {}
        self._unheard = False  # has been said
        self._poll = select.epoll()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._poll.fileno()

    def watch(self, pids: Set[int]) -> None:
        """What there are no files for is not heard."""
        with self._lock:
            for pid in self._files.keys() - pids:
                os.close(self._files.pop(pid))
            if not self._open(sorted(pids - self._files.keys())):
                self._say_unheard()

    def _open(self, pids: list[int]) -> bool:
        """Whether there were files for all of them."""
        for pid in pids:
            if len(self._files) == self._most:
                return False
            try:
                file = os.pidfd_open(pid)
            except ProcessLookupError:  # it has just ended
                continue
            except OSError:  # the host has no more files, either
                return False
            self._files[pid] = file
            self._poll.register(file, select.EPOLLIN)
        return True

    def _say_unheard(self) -> None:
        if not self._unheard:
            _say(f"there are files for the ends of {len(self._files)} processes, and not of all")
        self._unheard = True

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


def _say(what: str) -> None:
    log.warning("%s; each scrape looks at the others (more: LimitNOFILE=, ulimit -n)", what)


def _files() -> int:
    """How many files may be open, after asking for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, _FILES_WANTED))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except OSError:  # a filter of system calls, such as systemd's ~@resources
        return soft
    return wanted
