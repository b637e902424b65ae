"""BPF maps through libbpf: what is written is read, and what cannot be is an OSError."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

import pytest

from nvscope.probes.counts import decode
from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.libbpf import MapKind
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.counts.maps import Maps
from tests.unit.probes.pins.fakes import make_maps

HASH = MapKind(libbpf.MAP_TYPE_HASH, 4, 4)


@pytest.fixture
def maps() -> Iterator[Maps]:
    yield from make_maps(Sizes(vms=1))


class Refusing:
    """A library of which each call fails."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: -errno.EBADF


def test_a_hash(maps: Maps) -> None:
    index, key = maps.fds["row_index"], bytes(decode.Key(1, 2, 3))
    assert libbpf.lookup(index, key) is None
    value = ctypes.c_uint32(7)
    assert not libbpf.library().bpf_map_update_elem(index, key, ctypes.byref(value), 0)
    assert libbpf.lookup(index, key) == 7
    assert libbpf.delete(index, key)
    assert not libbpf.delete(index, key), "only who takes it away is told so"
    assert libbpf.lookup(index, key) is None


def test_arrays(maps: Maps) -> None:
    libbpf.write_array(maps.fds["lost"], 2, 1 << 63)
    assert libbpf.read_array(maps.fds["lost"], 4) == [0, 0, 1 << 63, 0]
    row = bytes(range(128)) * 3
    libbpf.write(maps.fds["rows"], 47, row)
    assert bytes(maps.memory("rows"))[-len(row) :] == row
    with pytest.raises(OSError, match="Argument list too long"):
        libbpf.write(maps.fds["rows"], 48, row)


@pytest.mark.usefixtures("maps")
def test_the_one_value_of_an_array() -> None:
    fd = libbpf.create_array("one", 100)
    try:
        libbpf.write(fd, 0, b"x" * 100)
        assert libbpf.read_value(fd, 100) == b"x" * 100
        assert libbpf.capacity(fd) == 1
    finally:
        os.close(fd)


def test_a_stack_has_its_bound(maps: Maps) -> None:
    stack = maps.fds["free_striped"]
    assert len(list(maps.popped("free_striped"))) == 24
    for number in range(24):
        libbpf.push(stack, (number, 1))
    with pytest.raises(OSError, match="Argument list too long"):
        libbpf.push(stack, (24, 1))
    assert maps.pop("free_striped") == (23, 1)


@pytest.mark.parametrize(("name", "entries"), [("rows", 48), ("mmus", 64), ("row_index", 48)])
def test_how_many_a_map_has_room_for(maps: Maps, name: str, entries: int) -> None:
    assert libbpf.capacity(maps.fds[name]) == entries


def test_what_is_frozen_stays_so(maps: Maps) -> None:
    libbpf.freeze(maps.fds["lost"])
    for attempt in (libbpf.freeze, lambda fd: libbpf.write_array(fd, 0, 1)):
        with pytest.raises(PermissionError):
            attempt(maps.fds["lost"])
    assert libbpf.read_array(maps.fds["lost"], 1) == [0]
    memory = maps.memory("missed")
    with pytest.raises(OSError, match="Device or resource busy"):
        libbpf.freeze(maps.fds["missed"])
    memory.close()


def test_whatever_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "library", Refusing)
    for attempt in (
        lambda: libbpf.lookup(7, b"key4"),
        lambda: libbpf.delete(7, b"key4"),
        lambda: libbpf.write(7, 0, b""),
        lambda: libbpf.push(7, (0, 1)),
        lambda: libbpf.freeze(7),
        lambda: libbpf.create("map", HASH, 1),
        lambda: libbpf.read_array(7, 1),
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            attempt()
