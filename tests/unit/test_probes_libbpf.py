"""BPF maps read through a library that is not there: one whose map a test scripts."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from nvscope.probes import libbpf

KEY, VALUE = 4, 8


class FakeMap:
    """A hash map behind libbpf's calls; nothing of it can be read in batches.

    between: called before each look for a next key, with how many there were.
    """

    def __init__(self, rows: dict[bytes, bytes], between: Callable[[int], None]) -> None:
        self.rows = rows
        self.looks = 0
        self._between = between

    def bpf_map_get_next_key(
        self, fd: int, before: ctypes.Array[ctypes.c_char] | None, into: ctypes.Array[ctypes.c_char]
    ) -> int:
        self._between(self.looks)
        self.looks += 1
        keys = list(self.rows)
        known = before is not None and before.raw in self.rows
        at = keys.index(before.raw) + 1 if known and before is not None else 0
        if at == len(keys):
            return -errno.ENOENT
        into.raw = keys[at]
        return 0

    def bpf_map_lookup_elem(
        self, fd: int, key: ctypes.Array[ctypes.c_char], into: ctypes.Array[ctypes.c_char]
    ) -> int:
        if fd != 7:
            return -errno.EBADF
        if key.raw not in self.rows:
            return -errno.ENOENT
        into.raw = self.rows[key.raw]
        return 0

    def libbpf_num_possible_cpus(self) -> int:
        return 3


def rows(count: int, value_size: int = VALUE) -> dict[bytes, bytes]:
    return {n.to_bytes(KEY, "little"): bytes([n]) * value_size for n in range(count)}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeMap]:
    def make(there: dict[bytes, bytes], between: Callable[[int], None] = lambda _: None) -> FakeMap:
        fake = FakeMap(there, between)
        monkeypatch.setattr(libbpf, "library", lambda: fake)
        return fake

    return make


@pytest.mark.parametrize("count", [0, 1, 100])
def test_all_rows_are_read(made: Callable[..., FakeMap], count: int) -> None:
    made(rows(count))
    assert libbpf.read_hash(7, KEY, VALUE) == list(rows(count).items())


def test_values_of_all_cpus_are_read(made: Callable[..., FakeMap]) -> None:
    made(rows(2, 3 * 16))
    assert libbpf.read_percpu_hash(7, KEY, 13) == list(rows(2, 3 * 16).items())


def test_a_row_that_goes_while_it_is_read(made: Callable[..., FakeMap]) -> None:
    """The kernel then begins anew: each row comes once all the same."""
    there = rows(10)

    def delete_the_last_one_read(looks: int) -> None:
        if looks == 5:
            del there[(4).to_bytes(KEY, "little")]

    fake = made(there, delete_the_last_one_read)
    assert libbpf.read_hash(7, KEY, VALUE) == list(rows(10).items())
    assert fake.looks == 5 + 10


def test_a_row_that_goes_before_it_is_read(
    made: Callable[..., FakeMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = made(rows(3))
    monkeypatch.setattr(fake, "bpf_map_lookup_elem", lambda *_: -errno.ENOENT)
    assert libbpf.read_hash(7, KEY, VALUE) == []


def test_a_map_that_cannot_be_read(made: Callable[..., FakeMap]) -> None:
    made(rows(3))
    with pytest.raises(OSError, match="Bad file descriptor"):
        libbpf.read_hash(8, KEY, VALUE)
