"""Child processes that do not outlive us."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def die_with_parent(how: int = signal.SIGKILL) -> Callable[[], None]:
    """A preexec_fn after which the child gets signal `how` when this process ends, in any way.

    The library is loaded here, before the fork, so that the child makes one system call only.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, how, 0, 0, 0)
