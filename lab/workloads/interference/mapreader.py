"""Reads a BPF hash map that is large and empty, over and over, as tools do that read in batches.

Whoever preempts a process that does so has no kprobe program run on that CPU meanwhile: the kernel
keeps them away from the buckets' locks by a per-CPU count (bpf_disable_instrumentation() in
bpf_map_lookup_batch(), kernel/bpf/hashtab.c), and the reader can be preempted with it raised.

Run as `python3 -m nvscope.lab.workloads.interference.mapreader`. Says "reading"; ends when stdin is
closed.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

ENTRIES = 1 << 20  # buckets, too: at least some ms of a walk
BPF_MAP_TYPE_HASH = 1  # enum bpf_map_type, include/uapi/linux/bpf.h
BPF_F_NO_PREALLOC = 1  # ibid.


class _CreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts, libbpf's bpf.h; what is not named is 0."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf", ctypes.c_uint32 * 5),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("others", ctypes.c_uint32 * 4),
    )


def main() -> None:
    """Read until nobody listens."""
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    options = _CreateOptions(sz=ctypes.sizeof(_CreateOptions), map_flags=BPF_F_NO_PREALLOC)
    fd = libbpf.bpf_map_create(BPF_MAP_TYPE_HASH, b"large", 8, 8, ENTRIES, ctypes.byref(options))
    if fd < 0:
        raise SystemExit(f"no map: {os.strerror(-fd)}")
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        _read(libbpf, fd)


def _read(libbpf: ctypes.CDLL, fd: int) -> None:
    """One walk; it finds nothing."""
    key, value = ctypes.c_uint64(), ctypes.c_uint64()
    count, following = ctypes.c_uint32(1), ctypes.c_uint32()
    libbpf.bpf_map_lookup_batch(
        fd,
        None,
        ctypes.byref(following),
        ctypes.byref(key),
        ctypes.byref(value),
        ctypes.byref(count),
        None,
    )


if __name__ == "__main__":
    main()
