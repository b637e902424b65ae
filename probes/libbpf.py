"""libbpf, by ctypes: the library, and BPF maps read through their file descriptors."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from pathlib import Path

from nvscope.probes.errors import LackError

SONAME = "libbpf.so.1"

# struct bpf_prog_info (uapi/linux/bpf.h): its size, and where run_time_ns lies, then run_cnt and
# recursion_misses.
PROG_INFO_BYTES = 232
PROG_INFO_ID = 4
PROG_INFO_RUN_TIME_NS = 192
# struct bpf_map_info: its size, and where max_entries lies.
MAP_INFO_BYTES = 88
MAP_INFO_MAX_ENTRIES = 16

# uapi/linux/bpf.h: of enum bpf_attach_type, of enum bpf_map_type, of BPF_OBJ_GET's flags.
TRACE_ITER, PERF_EVENT = 28, 41
MAP_TYPE_ARRAY = 2
F_RDONLY = 1 << 3


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf itself. Raises LackError when it is not installed."""
    try:
        lib = ctypes.CDLL(SONAME, use_errno=True)
    except OSError:
        raise LackError(f"{SONAME} is not installed: install the package libbpf1") from None
    lib.btf__parse.restype = ctypes.c_void_p
    lib.btf__type_by_id.restype = ctypes.c_void_p
    lib.btf__name_by_offset.restype = ctypes.c_char_p
    lib.libbpf_set_print.restype = ctypes.c_void_p
    return lib


def possible_cpus() -> int:
    """How many values a per-CPU map has for each key."""
    return _checked(int(library().libbpf_num_possible_cpus()))


def read_percpu_hash(fd: int, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
    """All (key, values of all CPUs) of a per-CPU hash map; sizes in bytes.

    A value lies every value_size bytes, rounded up to 8. Otherwise as `read_hash`.
    """
    return read_hash(fd, key_size, (value_size + 7) // 8 * 8 * possible_cpus())


def read_hash(fd: int, key_size: int, row_size: int) -> list[tuple[bytes, bytes]]:
    """All (key, value) of a hash map, each key once; sizes in bytes.

    Complexity: two system calls a row. Not bpf_map_lookup_batch(): it walks the empty buckets with
    bpf_prog_active raised, and whoever preempts it there has no kprobe program run on that CPU
    (trace_call_bpf(), kernel/trace/bpf_trace.c), be it ours or another tool's.
    """
    lib, rows = library(), {}
    key, following = (ctypes.create_string_buffer(key_size) for _ in range(2))
    value, before = ctypes.create_string_buffer(row_size), None
    # Where `before` was deleted meanwhile the walk begins anew.
    while not _ended(lib.bpf_map_get_next_key(fd, before, following)):
        key, following = following, key
        before = key
        if key.raw not in rows and not _ended(lib.bpf_map_lookup_elem(fd, key, value)):
            rows[key.raw] = value.raw
    return list(rows.items())


def _ended(result: int) -> bool:
    """Whether a map has no such key. Raises OSError for other failures."""
    if result == -errno.ENOENT:
        return True
    _checked(result)
    return False


def read_array(fd: int, length: int) -> list[int]:
    """The first `length` values of an array map of u64."""
    values = []
    for index in range(length):
        value = ctypes.c_uint64()
        result = library().bpf_map_lookup_elem(
            fd, ctypes.byref(ctypes.c_uint32(index)), ctypes.byref(value)
        )
        _checked(result)
        values.append(value.value)
    return values


def write_array(fd: int, index: int, value: int) -> None:
    """Set one value of an array map of u64."""
    key, cell = ctypes.c_uint32(index), ctypes.c_uint64(value)
    _checked(library().bpf_map_update_elem(fd, ctypes.byref(key), ctypes.byref(cell), 0))


def write_hash(fd: int, key: int, value: int) -> None:
    """Set one value of a hash map of u32 -> u64."""
    write_array(fd, key, value)  # whose keys are as wide


def read_value(fd: int, size: int) -> bytes:
    """The one value of an array map of one, in full."""
    value = ctypes.create_string_buffer(size)
    _checked(library().bpf_map_lookup_elem(fd, ctypes.byref(ctypes.c_uint32(0)), value))
    return value.raw


def write_value(fd: int, value: bytes) -> None:
    """Set the one value of an array map of one, in full."""
    _checked(library().bpf_map_update_elem(fd, ctypes.byref(ctypes.c_uint32(0)), value, 0))


def create_array(name: str, size: int) -> int:
    """A new array map with one value of `size` bytes; its fd."""
    return _checked(library().bpf_map_create(MAP_TYPE_ARRAY, name.encode(), 4, size, 1, None))


def pin(fd: int, path: Path) -> None:
    """Keep a map, program or link beyond our end, at a path in a BPF file system."""
    _checked(library().bpf_obj_pin(fd, os.fsencode(path)))


class _ObjGetOpts(ctypes.Structure):
    """struct bpf_obj_get_opts (libbpf's bpf.h)."""

    _fields_ = (("sz", ctypes.c_size_t), ("file_flags", ctypes.c_uint32), ("_", ctypes.c_uint32))


def open_pinned(path: Path) -> int:
    """The fd of a pinned map, for reading alone."""
    options = _ObjGetOpts(sz=ctypes.sizeof(_ObjGetOpts), file_flags=F_RDONLY)
    return _checked(library().bpf_obj_get_opts(os.fsencode(path), ctypes.byref(options)))


def delete(fd: int, key: bytes) -> None:
    """Delete a key, if it is there."""
    _ended(library().bpf_map_delete_elem(fd, key))


def run_stats(prog_fd: int) -> tuple[int, int, int]:
    """(runs, their time in ns, how often the kernel did not run it because it was running already
    on that CPU); the first two while kernel.bpf_stats_enabled is 1.
    """
    info = _info(prog_fd, PROG_INFO_BYTES)
    time_ns, runs, misses = (ctypes.c_uint64 * 3).from_buffer(info, PROG_INFO_RUN_TIME_NS)
    return runs, time_ns, misses


def program_id(prog_fd: int) -> int:
    """By which the kernel tells programs apart."""
    return ctypes.c_uint32.from_buffer(_info(prog_fd, PROG_INFO_BYTES), PROG_INFO_ID).value


def capacity(map_fd: int) -> int:
    """How many entries a map has room for."""
    info = _info(map_fd, MAP_INFO_BYTES)
    return ctypes.c_uint32.from_buffer(info, MAP_INFO_MAX_ENTRIES).value


def _info(fd: int, size: int) -> ctypes.Array[ctypes.c_char]:
    info, length = ctypes.create_string_buffer(size), ctypes.c_uint32(size)
    _checked(library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)))
    return info


def link_perf_event(prog_fd: int, event_fd: int) -> int:
    """Run a program at a perf event for as long as the link that is returned is open, or pinned."""
    return _checked(int(library().bpf_link_create(prog_fd, event_fd, PERF_EVENT, None)))


def link_iterator(prog_fd: int) -> int:
    """The fd of a link that, once pinned, runs an iterator when its pin is read."""
    return _checked(int(library().bpf_link_create(prog_fd, 0, TRACE_ITER, None)))


# int (*)(void *context, void *data, size_t size), libbpf.h: ring_buffer_sample_fn
_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Ring:
    """A BPF ring buffer's reader. Not for two threads at once."""

    def __init__(self, fd: int) -> None:
        lib = library()
        lib.ring_buffer__new.restype = ctypes.c_void_p
        self._taken = bytearray()
        self._callback = _SAMPLE(self._take)  # kept: libbpf only has its address
        self._ring = ctypes.c_void_p(lib.ring_buffer__new(fd, self._callback, None, None))
        if not self._ring:
            _checked(-ctypes.get_errno())

    def drain(self) -> bytes:
        """All that is in it, the records one after another; empty afterwards."""
        _checked(int(library().ring_buffer__consume(self._ring)))
        taken, self._taken = self._taken, bytearray()
        return bytes(taken)

    def close(self) -> None:
        """Let go of the memory; may be called twice."""
        ring, self._ring = self._ring, ctypes.c_void_p()
        library().ring_buffer__free(ring)

    def _take(self, _context: int, data: int, size: int) -> int:
        self._taken += ctypes.string_at(data, size)
        return 0


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
