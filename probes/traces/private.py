"""Files with addresses of the kernel in them: for their owner alone, as those addresses are."""

from __future__ import annotations

import os
import stat

MODE = 0o600


def opener(path: str, flags: int) -> int:
    """For open(): the file, new or overwritten, is for its owner alone, whatever the umask."""
    fd = os.open(path, flags, MODE)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fchmod(fd, MODE)
    return fd
