"""What attached programs have counted, by the file descriptors of their maps and of themselves."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nvscope.probes.counts import decode, pools, rows
from nvscope.probes.counts.mapped import MappedArray
from nvscope.probes.counts.snapshot import Runs, Snapshot, VmKey
from nvscope.probes.counts.stats import AllStats, Stats
from nvscope.probes.kernel import libbpf

# The arrays that are read, by their names in bpf/nvscope.h and rows.h, and the bytes of a value.
_ARRAYS = {
    "rows": decode.ROW_BYTES,
    "mmus": decode.MMU_BYTES,
    "heads": decode.HEADS_BYTES,
    "lost": 8,
    "missed": 8,
}
MAPS = tuple(_ARRAYS)
# What who attached the programs writes to besides, to have rows forgotten.
WRITTEN = ("row_index", "mmu_index", *(pool.stack for pool in pools.POOLS))
_MISSED = len(decode.EDGES) * len(decode.POINTS)
# VMs seldom end: a reading is as good as never disturbed twice.
_READINGS = 5


@dataclass(frozen=True)
class _Raw:
    """What was given out of the arrays, one range after another."""

    rows: bytes
    mmus: bytes


class Counters:
    """What the maps hold. Lets no two threads in; whoever opened the descriptors closes them.

    maps: MAPS -> fd, and WRITTEN for who calls forget(); stats: of the programs, None where nobody
    tells; notifier_seen: as for rows.snapshot.
    """

    def __init__(
        self, maps: Mapping[str, int], stats: AllStats | None, notifier_seen: bool
    ) -> None:
        self.maps = maps
        self._stats_of = stats
        self._notifier_seen = notifier_seen
        self._arrays = {name: MappedArray(maps[name], size) for name, size in _ARRAYS.items()}
        self._capacity = {name: libbpf.capacity(maps[name]) for name in ("rows", "mmus")}
        self._missed: dict[str, int] = {}

    def snapshot(self) -> Snapshot:
        """All counters now. Raises OSError."""
        # The losses last: an event between the reads is then rather lost than forgotten.
        raw = self._read()
        stats = self._stats()
        losses = self._losses(stats)
        counted = rows.snapshot(
            raw.rows, losses, self._notifier_seen, raw.mmus, capacity=self._capacity
        )
        runs = {name: Runs(each.runs, each.time_ns) for name, each in stats.items()}
        return replace(counted, runs=runs)

    def losses(self) -> dict[str, int]:
        """What is not counted, by cause; without decode.RECURSION where nobody tells. Raises
        OSError.
        """
        return self._losses(self._stats())

    def forget(self, vm: VmKey) -> None:
        """Take away the rows of a VM that is gone, and its shadow MMUs. Raises OSError."""
        raw = self._read()
        for labels in rows.labels_of(vm, raw.rows):
            for key in decode.row_keys(vm, labels):
                self._drop("rows", "row_index", key, decode.ROW_BYTES)
        for key in rows.mmu_keys(vm, raw.mmus):
            self._drop("mmus", "mmu_index", key, decode.MMU_BYTES)

    def _drop(self, name: str, index: str, key: bytes, size_bytes: int) -> None:
        """What a key leads to, if it is still there. The programs may be at it as well, at the VM's
        end: it is given back by who deletes the key, once.
        """
        place = libbpf.lookup(self.maps[index], key)
        if place is not None and libbpf.delete(self.maps[index], key):
            libbpf.write(self.maps[name], place, bytes(size_bytes))
            pools.give_back(self.maps, self._capacity, name, place)

    def close(self) -> None:
        """Let go of the maps' memory. May be called twice; what is read later is mapped anew."""
        for array in self._arrays.values():
            array.close()

    def _read(self) -> _Raw:
        """Rows and shadow MMUs, none of which was given to another while it was read."""
        heads = self._heads()
        for _ in range(_READINGS):
            raw = _Raw(self._values("rows", heads), self._values("mmus", heads))
            before, heads = heads, self._heads()
            if heads.freed == before.freed:
                break
        return raw

    def _values(self, name: str, heads: decode.Heads) -> bytes:
        ranges = pools.given_out(heads.ends, self._capacity, name)
        return b"".join(self._arrays[name].read(first, count) for first, count in ranges)

    def _heads(self) -> decode.Heads:
        return decode.Heads.from_buffer_copy(self._arrays["heads"].read(0, 1))

    def _stats(self) -> Mapping[str, Stats]:
        return self._stats_of() if self._stats_of else {}

    def _losses(self, stats: Mapping[str, Stats]) -> dict[str, int]:
        skipped = {name: each.misses for name, each in stats.items()}
        losses = self._words("lost", len(decode.LOSSES))
        lost = dict(zip(decode.LOSSES, losses, strict=True)) | self._misses(skipped)
        return lost | {decode.RECURSION: sum(skipped.values())} if self._stats_of else lost

    def _misses(self, skipped: Mapping[str, int]) -> dict[str, int]:
        """Never less than before: what was skipped now may be noticed later."""
        for cause, count in decode.missed(self._words("missed", _MISSED), skipped).items():
            self._missed[cause] = max(count, self._missed.get(cause, 0))
        return dict(self._missed)

    def _words(self, name: str, count: int) -> tuple[int, ...]:
        return struct.unpack(f"={count}Q", self._arrays[name].read(0, count))
