"""libbpf, by ctypes: the library, and BPF maps read through their file descriptors."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from dataclasses import dataclass
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
MAP_TYPE_HASH, MAP_TYPE_ARRAY, MAP_TYPE_STACK = 1, 2, 23
F_RDONLY = 1 << 3
# Of BPF_MAP_CREATE's.
F_NO_PREALLOC, F_MMAPABLE = 1 << 0, 1 << 10


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


def write(fd: int, index: int, value: bytes) -> None:
    """Set one value of an array map, in full."""
    key = ctypes.c_uint32(index)
    _checked(library().bpf_map_update_elem(fd, ctypes.byref(key), value, 0))


def push(fd: int, value: tuple[int, int]) -> None:
    """Put a value on top of a stack map of two u32."""
    _checked(library().bpf_map_update_elem(fd, None, (ctypes.c_uint32 * 2)(*value), 0))


def read_value(fd: int, size: int) -> bytes:
    """The one value of an array map of one, in full."""
    value = ctypes.create_string_buffer(size)
    _checked(library().bpf_map_lookup_elem(fd, ctypes.byref(ctypes.c_uint32(0)), value))
    return value.raw


@dataclass(frozen=True)
class MapKind:
    """What a map is made of: enum bpf_map_type, bytes of a key and of a value, BPF_F_*."""

    type: int
    key_bytes: int
    value_bytes: int
    flags: int = 0


class _MapCreateOpts(ctypes.Structure):
    """struct bpf_map_create_opts (libbpf's bpf.h)."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_and_inner_map", ctypes.c_uint32 * 5),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


def create(name: str, kind: MapKind, entries: int) -> int:
    """A new map; its fd."""
    options = _MapCreateOpts(sz=ctypes.sizeof(_MapCreateOpts), map_flags=kind.flags)
    sizes = kind.key_bytes, kind.value_bytes, entries
    made = library().bpf_map_create(kind.type, name.encode(), *sizes, ctypes.byref(options))
    return _checked(int(made))


def create_array(name: str, size: int) -> int:
    """A new array map with one value of `size` bytes; its fd."""
    return create(name, MapKind(MAP_TYPE_ARRAY, 4, size), 1)


def pin(fd: int, path: Path) -> None:
    """Keep a map, program or link beyond our end, at a path in a BPF file system."""
    _checked(library().bpf_obj_pin(fd, os.fsencode(path)))


class _ObjGetOpts(ctypes.Structure):
    """struct bpf_obj_get_opts (libbpf's bpf.h)."""

    _fields_ = (("sz", ctypes.c_size_t), ("file_flags", ctypes.c_uint32), ("_", ctypes.c_uint32))


def open_pinned(path: Path, *, mapping: bool = False) -> int:
    """The fd of a pinned map, for reading alone.

    mapping: of a frozen map, whose memory is to be mapped. By a descriptor that is for reading
    alone the kernel maps none (bpf_map_mmap() wants VM_SHARED), and a frozen map is so by any.
    """
    flags = 0 if mapping else F_RDONLY
    options = _ObjGetOpts(sz=ctypes.sizeof(_ObjGetOpts), file_flags=flags)
    return _checked(library().bpf_obj_get_opts(os.fsencode(path), ctypes.byref(options)))


def freeze(fd: int) -> None:
    """Let nobody write to a map but programs, for good. Raises OSError, also where it is frozen."""
    _checked(library().bpf_map_freeze(fd))


def lookup(fd: int, key: bytes) -> int | None:
    """What a hash map of u32 has for a key."""
    value = ctypes.c_uint32()
    found = _there(library().bpf_map_lookup_elem(fd, key, ctypes.byref(value)))
    return value.value if found else None


def delete(fd: int, key: bytes) -> bool:
    """Delete a key; whether it was there: of several who delete it, one is told so."""
    return _there(library().bpf_map_delete_elem(fd, key))


def _there(result: int) -> bool:
    if result == -errno.ENOENT:
        return False
    _checked(result)
    return True


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
