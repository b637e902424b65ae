"""What attached programs have counted, by the file descriptors of their maps and of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nvscope.probes import decode, libbpf
from nvscope.probes.snapshot import Room, Runs, Snapshot, VmKey
from nvscope.probes.stats import AllStats, Stats

# The maps that are read, by their names in bpf/nvscope.h.
MAPS = ("rows", "spare", "mmus", "lost", "missed")


@dataclass(frozen=True)
class Counters:
    """maps: MAPS -> fd; stats: of the programs, None where nobody tells; notifier_seen: as for
    decode.snapshot.

    Whoever opened the descriptors closes them, and lets no two threads in here.
    """

    maps: Mapping[str, int]
    stats: AllStats | None
    notifier_seen: bool
    _missed: dict[str, int] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """All counters now. Raises OSError."""
        # The losses last: an event between the reads is then rather lost than forgotten.
        rows = dict(libbpf.read_percpu_hash(self.maps["rows"], *decode.SIZES))
        mmus = libbpf.read_hash(self.maps["mmus"], *decode.MMU_SIZES)
        used = {"rows": len(rows), "mmus": len(mmus)}
        # As if they were of more CPUs.
        for key, values in libbpf.read_percpu_hash(self.maps["spare"], *decode.SIZES):
            rows[key] = rows.get(key, b"") + values
        stats = self._stats()
        counted = decode.snapshot(rows.items(), self._losses(stats), self.notifier_seen, mmus)
        runs = {name: Runs(each.runs, each.time_ns) for name, each in stats.items()}
        return replace(counted, room=self._room(used), runs=runs)

    def losses(self) -> dict[str, int]:
        """What is not counted, by cause; without decode.RECURSION where nobody tells. Raises
        OSError.
        """
        return self._losses(self._stats())

    def _stats(self) -> Mapping[str, Stats]:
        return self.stats() if self.stats else {}

    def _losses(self, stats: Mapping[str, Stats]) -> dict[str, int]:
        skipped = {name: each.misses for name, each in stats.items()}
        losses = libbpf.read_array(self.maps["lost"], len(decode.LOSSES))
        lost = dict(zip(decode.LOSSES, losses, strict=True)) | self._misses(skipped)
        return lost | {decode.RECURSION: sum(skipped.values())} if self.stats else lost

    def _misses(self, skipped: Mapping[str, int]) -> dict[str, int]:
        """Never less than before: what was skipped now may be noticed later."""
        counts = libbpf.read_array(self.maps["missed"], len(decode.EDGES) * len(decode.POINTS))
        for cause, count in decode.missed(counts, skipped).items():
            self._missed[cause] = max(count, self._missed.get(cause, 0))
        return dict(self._missed)

    def _room(self, used: Mapping[str, int]) -> dict[str, Room]:
        return {name: Room(n, libbpf.capacity(self.maps[name])) for name, n in used.items()}

    def forget(self, vm: VmKey, triggers: bool = False) -> None:
        """Delete the rows of a VM; triggers: they are told apart by who caused them."""
        for key in decode.keys_of(vm, triggers):
            libbpf.delete(self.maps["rows"], key)
            libbpf.delete(self.maps["spare"], key)
        for mmu in decode.mmus_of(vm, libbpf.read_hash(self.maps["mmus"], *decode.MMU_SIZES)):
            libbpf.delete(self.maps["mmus"], mmu)
