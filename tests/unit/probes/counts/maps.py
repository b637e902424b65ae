"""The programs' maps, real ones, and what the programs do with them: bpf/rows.h in Python."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from nvscope.probes.counts import decode, pools
from nvscope.probes.counts.decode import STRIPE_SHIFT, Heads, Key, Mmu, NvRow
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.kernel import libbpf
from nvscope.probes.kernel.libbpf import F_MMAPABLE, F_NO_PREALLOC, MapKind
from nvscope.probes.points.sizes import Sizes, capacity

MISSED = len(decode.EDGES) * len(decode.POINTS)


def _array(value_bytes: int) -> MapKind:
    return MapKind(libbpf.MAP_TYPE_ARRAY, 4, value_bytes, F_MMAPABLE)


# As nvscope.h and rows.h declare them (tests/unit/probes/counts/test_layout.py).
KINDS = {
    "lost": _array(8),
    "missed": _array(8),
    "rows": _array(decode.ROW_BYTES),
    "mmus": _array(decode.MMU_BYTES),
    "heads": _array(decode.HEADS_BYTES),
    "row_index": MapKind(libbpf.MAP_TYPE_HASH, ctypes.sizeof(Key), 4),
    "mmu_index": MapKind(libbpf.MAP_TYPE_HASH, 8, 4, F_NO_PREALLOC),
    **{pool.stack: MapKind(libbpf.MAP_TYPE_STACK, 0, 8) for pool in pools.POOLS},
}


def entries(sizes: Sizes) -> dict[str, int]:
    """How many each map has room for."""
    room = capacity(sizes)
    return {
        "lost": len(decode.LOSSES),
        "missed": MISSED,
        "heads": 1,
        **room,
        **{f"{name.removesuffix('s')}_index": count for name, count in room.items()},
        **{pool.stack: room[pool.of] // pool.shares for pool in pools.POOLS},
    }


@dataclass(frozen=True)
class Counted:
    """What a row, or some of its calls, add up to; slots: number -> count."""

    slots: Mapping[int, int]
    sum_ns: int = 0
    size_bytes: int = 0

    def row(self, vm: VmKey, labels: int) -> NvRow:
        """As it lies in the array."""
        row = NvRow(vm.kvm, labels << 32 | vm.pid, self.size_bytes, self.sum_ns)
        for slot, count in self.slots.items():
            row.slots[slot] = count
        return row


class Maps:
    """New maps, with all to be had. Use it as a context manager. Raises OSError.

    fds: name -> fd; capacity: of what is given out.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.capacity = capacity(sizes)
        self.fds: dict[str, int] = {}
        self._memory: dict[str, mmap.mmap] = {}
        try:
            for name, count in entries(sizes).items():
                self.fds[name] = libbpf.create(name, KINDS[name], count)
        except OSError:
            self.close()
            raise
        pools.fill(self.fds, self.capacity)

    def count(self, vm: VmKey, labels: int, counted: Counted, stripe: int = 0) -> int:
        """A row of a VM, in a stripe of CPUs or, where that has none left, in what all share; its
        index. What it had is replaced.
        """
        row = counted.row(vm, labels)
        for pool, of in (("free_striped", stripe), ("free_shared", decode.MAX_STRIPES)):
            key = bytes(Key(vm.kvm, vm.pid, of << STRIPE_SHIFT | labels))
            place = libbpf.lookup(self.fds["row_index"], key)
            if place is None and (place := self.take(pool)) is not None:
                _update(self.fds["row_index"], key, place)
            if place is not None:
                self.put("rows", place, bytes(row))
                return place
        raise OSError("no room for a row")

    def shadow(self, name: int, vm: VmKey, *, broken: bool = False) -> int:
        """The state of a shadow MMU; its index."""
        key = name.to_bytes(8, "little")
        place = libbpf.lookup(self.fds["mmu_index"], key)
        if place is None and (place := self.take("free_mmus")) is None:
            raise OSError("no room for a shadow MMU")
        _update(self.fds["mmu_index"], key, place)
        self.put("mmus", place, bytes(Mmu(name, vm.kvm, vm.pid, broken)))
        return place

    def end(self, vm: VmKey) -> None:
        """vm_exit: its rows go."""
        for labels in decode.LABELS:
            for key in decode.row_keys(vm, labels):
                place = libbpf.lookup(self.fds["row_index"], key)
                if place is not None and libbpf.delete(self.fds["row_index"], key):
                    self.put("rows", place, bytes(decode.ROW_BYTES))
                    self.heads().freed += 1
                    pools.give_back(self.fds, self.capacity, "rows", place)

    def take(self, stack: str) -> int | None:
        """An index that is nobody's."""
        popped = self.pop(stack)
        if popped is None:
            return None
        first, count = popped
        [number] = [n for n, pool in enumerate(pools.POOLS) if pool.stack == stack]
        pool = pools.POOLS[number]
        size = self.capacity[pool.of] // pool.shares
        place, within = divmod(first - pool.share * size, 1 << pools.range_shift(size))
        ends, at = self.heads().ends, number * pools.RANGES + place
        ends[at] = max(ends[at], within + 1)
        if count > 1:
            libbpf.push(self.fds[stack], (first + 1, count - 1))
        return first

    def pop(self, stack: str) -> tuple[int, int] | None:
        """What lies on top of a stack: (first, count)."""
        value = (ctypes.c_uint32 * 2)()
        if libbpf.library().bpf_map_lookup_and_delete_elem(self.fds[stack], None, value):
            return None
        first, count = value
        return first, count

    def popped(self, stack: str) -> Iterator[tuple[int, int]]:
        """All of a stack, from the top."""
        while (found := self.pop(stack)) is not None:
            yield found

    def heads(self) -> Heads:
        """As it lies in its map."""
        return Heads.from_buffer(self.memory("heads"))

    def put(self, name: str, index: int, value: bytes) -> None:
        """Write to an array's memory, as programs do."""
        begin = index * len(value)
        self.memory(name)[begin : begin + len(value)] = value

    def memory(self, name: str) -> mmap.mmap:
        """An array, as programs see it."""
        if name not in self._memory:
            size = libbpf.capacity(self.fds[name]) * KINDS[name].value_bytes
            self._memory[name] = mmap.mmap(self.fds[name], size)
        return self._memory[name]

    def settle(self) -> None:
        """Write no more for now: a map that is written to cannot be frozen."""
        self._memory.clear()

    def close(self) -> None:
        """Let go of them."""
        self.settle()
        while self.fds:
            os.close(self.fds.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _update(fd: int, key: bytes, value: int) -> None:
    cell = ctypes.c_uint32(value)
    if libbpf.library().bpf_map_update_elem(fd, key, ctypes.byref(cell), 0):
        raise OSError("no room in an index")
