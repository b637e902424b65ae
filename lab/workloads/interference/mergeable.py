"""Runs a command whose memory KSM may merge.

Run as `python3 -m nvscope.lab.workloads.interference.mergeable COMMAND`.

What QEMU does to guest memory alone (-machine mem-merge=on) holds for all memory of the command.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_MEMORY_MERGE = 67  # include/uapi/linux/prctl.h; kept by exec


def main(*command: str) -> None:
    """Becomes the command. Raises OSError where this kernel has no KSM."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"memory cannot be made mergeable: {os.strerror(number)}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
