"""Arrays of the kernel as memory: what is read, by whom, and with how few system calls."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nvscope.probes.counts import decode
from nvscope.probes.counts.counters import Counters
from nvscope.probes.counts.mapped import MappedArray
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.counts.maps import Counted, Maps
from tests.unit.probes.pins.fakes import make_maps

VMS = 20
PR_SET_SECCOMP, SECCOMP_MODE_STRICT = 22, 1  # uapi/linux/prctl.h, seccomp.h


@pytest.fixture
def maps() -> Iterator[Maps]:
    yield from make_maps(Sizes(VMS))


def rows(maps: Maps) -> MappedArray:
    return MappedArray(maps.fds["rows"], decode.ROW_BYTES)


def mapped_bytes() -> int:
    """Of BPF maps, in this process."""
    lines = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "bpf-map" in line
    ]
    return sum(int(end, 16) - int(begin, 16) for begin, end in lines)


def without_system_calls(work: Callable[[], bytes]) -> bytes:
    """What it returns, of a process that may make no system call but read(2) and write(2): "" where
    it wants another one.
    """
    library = ctypes.CDLL(None)
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        gc.disable()
        library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
        os.write(sending, work())
        os._exit(0)  # which is another one, and the kernel ends the process in any case
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return said


def value(number: int) -> bytes:
    return number.to_bytes(8, "little") * (decode.ROW_BYTES // 8)


def test_what_programs_write_is_read(maps: Maps) -> None:
    with rows(maps) as array:
        assert array.read(0, 2) == bytes(2 * decode.ROW_BYTES)
        for number in (0, 1, 48 * VMS - 1):
            maps.put("rows", number, value(number + 1))
        assert array.read(0, 2) == value(1) + value(2)
        assert array.read(48 * VMS - 2, 2) == value(0) + value(48 * VMS)
        assert array.read(0, 0) == b""


def test_only_as_much_is_mapped_as_was_asked_for(maps: Maps) -> None:
    page = mmap.PAGESIZE
    before = mapped_bytes()
    with rows(maps) as array:
        assert mapped_bytes() == before
        array.read(0, 1)
        assert mapped_bytes() - before == page
        array.read(0, page // decode.ROW_BYTES + 1)
        assert mapped_bytes() - before == 2 * page
        array.read(0, 1)
        assert mapped_bytes() - before == 2 * page
    assert mapped_bytes() == before


def test_beyond_its_end(maps: Maps) -> None:
    with rows(maps) as array, pytest.raises(OSError, match="Invalid argument"):
        array.read(48 * VMS + mmap.PAGESIZE, 1)


def test_reading_is_no_system_call(maps: Maps) -> None:
    maps.put("rows", 1, value(7))
    with rows(maps) as array:
        array.read(0, 4)
        assert without_system_calls(lambda: array.read(1, 1)) == value(7)
        assert without_system_calls(lambda: array.read(100, 1)) == b"", "has to map more of it"


def test_all_counters_are_read_by_no_system_call(maps: Maps) -> None:
    vm = VmKey(1, 2)
    counters = Counters(maps.fds, None, notifier_seen=True)
    for stripe in range(3):
        maps.count(vm, decode.LABELS[0], Counted({7: 10}), stripe)
    assert counters.snapshot().notifier_unmaps[0].durations.count == 30

    def count() -> bytes:
        return b"%d" % counters.snapshot().notifier_unmaps[0].durations.count

    maps.count(vm, decode.LABELS[0], Counted({7: 11}), 2)
    assert without_system_calls(count) == b"31"
    counters.close()


def test_who_closes_the_map_does_not_take_its_memory_away(maps: Maps) -> None:
    with rows(maps) as array:
        array.read(0, 1)
        maps.put("rows", 0, value(5))
        maps.close()
        assert array.read(0, 1) == value(5)
        array.close()
        array.close()
