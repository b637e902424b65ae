"""Kprobes as perf events, attached by a BPF link: unlike bcc's own, a link can be pinned.

The kernel's side: perf_event_open(2), "kprobe and uprobe"; struct perf_event_attr,
uapi/linux/perf_event.h; BPF_LINK_TYPE_PERF_EVENT, since Linux 5.15.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

from nvscope.probes.kernel import libbpf

# __NR_perf_event_open (uapi/asm-generic/unistd.h; x86's own table).
_SYSCALL = {"aarch64": 241, "x86_64": 298}
_FD_CLOEXEC = 1 << 3  # PERF_FLAG_FD_CLOEXEC
_KPROBES = Path("/sys/bus/event_source/devices/kprobe")


class _Attributes(ctypes.Structure):
    """struct perf_event_attr up to config2 (PERF_ATTR_SIZE_VER1)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_uint64),
        ("probe_offset", ctypes.c_uint64),
    )


def attach_kprobe(symbol: str, program_fd: int, *, at_return: bool) -> int:
    """Run a program at each call of a kernel function, or return from it; the link's fd.

    Raises OSError: ENOENT where there is no such function, EINVAL where it must not be probed.
    """
    name = ctypes.create_string_buffer(symbol.encode())
    attributes = _Attributes(
        type=_number("type"),
        size=ctypes.sizeof(_Attributes),
        config=int(at_return) << _return_bit(),
        kprobe_func=ctypes.addressof(name),
    )
    event = _open(attributes)
    try:
        return libbpf.link_perf_event(program_fd, event)
    finally:
        os.close(event)  # the link holds it


def _open(attributes: _Attributes) -> int:
    """One event for all CPUs: a kprobe's program runs wherever the function is called."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    anybody, cpu, no_group = -1, 0, -1
    number = ctypes.c_long(_SYSCALL[platform.machine()])
    fd: int = call(
        number, ctypes.byref(attributes), anybody, cpu, no_group, ctypes.c_ulong(_FD_CLOEXEC)
    )
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


@functools.cache
def _number(name: str) -> int:
    return int((_KPROBES / name).read_text())


@functools.cache
def _return_bit() -> int:
    """Which bit of config asks for returns: "config:0"."""
    return int((_KPROBES / "format/retprobe").read_text().removeprefix("config:"))
