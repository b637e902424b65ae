"""Which messages of the proc connector a socket takes in: a classic BPF filter, run by the kernel.

Without it every fork, exec and exit of the host is a message to be read.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Iterable, Sequence

# Where in a message: struct nlmsghdr (16 bytes), struct cn_msg (20), struct proc_event (what, cpu,
# timestamp_ns, then of an exit the thread's id and the process's): include/uapi/linux/cn_proc.h.
WHAT_AT, DATA_AT, PROCESS_AT = 36, 52, 56
EVENT_NONE, EVENT_EXIT = 0, 0x80000000

# include/uapi/linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JA, BPF_JMP|BPF_JEQ|BPF_K,
# BPF_JMP|BPF_JGE|BPF_K, BPF_RET|BPF_K.
_LOAD, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x06
_ALL, _NOTHING = 0xFFFFFFFF, 0
# Values compared one by one at the end of a search.
_LEAF = 8
_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h; not in Python's socket module

# struct sock_filter: code, jt, jf, k.
Instruction = tuple[int, int, int, int]


def only(what: int) -> list[Instruction]:
    """Take in events of one kind."""
    return [*_unless(what), (_RETURN, 0, 0, _ALL)]


def exits_of(pids: Iterable[int]) -> list[Instruction]:
    """Take in exits of these processes' threads. Complexity: O(log pids) for each of the host's."""
    wanted = sorted(map(_loaded, pids))
    return [*_unless(EVENT_EXIT), (_LOAD, 0, 0, PROCESS_AT), *_among(wanted)]


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Replace a socket's filter. Raises OSError: there is a limit of 4096 instructions, and one of
    memory (net.core.optmem_max)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    # struct sock_fprog: a length and a pointer.
    address = struct.pack("@HP", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, address)


def _unless(what: int) -> list[Instruction]:
    """Refuse what is not this kind of event."""
    return [
        (_LOAD, 0, 0, WHAT_AT),
        (_IF_EQUAL, 1, 0, _loaded(what)),
        (_RETURN, 0, 0, _NOTHING),
    ]


def _among(values: Sequence[int]) -> list[Instruction]:
    """Take in what is one of the values, in ascending order: a binary search."""
    if len(values) <= _LEAF:
        # Jumps count from the next instruction: to the last from each.
        found = [(_IF_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
        return [*found, (_RETURN, 0, 0, _NOTHING), (_RETURN, 0, 0, _ALL)]
    half = len(values) // 2
    low, high = _among(values[:half]), _among(values[half:])
    # A conditional jump is a byte, too short for all of the lower half.
    return [(_IF_AT_LEAST, 0, 1, values[half]), (_JUMP, 0, 0, len(low)), *low, *high]


def _loaded(value: int) -> int:
    """What the kernel compares with: it loads words as they are on a network, most significant
    byte first."""
    return int.from_bytes(value.to_bytes(4, sys.byteorder), "big")
