"""process_madvise(2): advice on the memory of another process."""

from __future__ import annotations

import ctypes
import os

SYS_PROCESS_MADVISE = 440  # include/uapi/asm-generic/unistd.h
MADV_PAGEOUT, MADV_COLLAPSE = 21, 25  # include/uapi/asm-generic/mman-common.h


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def advise(pidfd: int, address: int, size_bytes: int, advice: int) -> int:
    """Give advice on [address, +size_bytes) of a process; how many bytes it was taken for.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    vector = _IoVec(address, size_bytes)
    done: int = libc.syscall(
        SYS_PROCESS_MADVISE, pidfd, ctypes.byref(vector), ctypes.c_size_t(1), advice, 0
    )
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"process_madvise({advice}): {os.strerror(number)}")
    return done
