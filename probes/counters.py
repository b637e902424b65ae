"""What attached programs have counted, by the file descriptors of their maps and of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nvscope.probes import decode, libbpf
from nvscope.probes.snapshot import Room, Runs, Snapshot, VmKey

# The maps that are read, by their names in bpf/nvscope.h.
MAPS = ("rows", "spare", "mmus", "lost")


@dataclass(frozen=True)
class Counters:
    """maps: MAPS -> fd; programs: name -> fd; notifier_seen: as for decode.snapshot.

    Whoever opened the descriptors closes them, and lets no two threads in here.
    """

    maps: Mapping[str, int]
    programs: Mapping[str, int]
    notifier_seen: bool

    def snapshot(self) -> Snapshot:
        """All counters now. Raises OSError."""
        # The losses last: an event between the reads is then rather lost than forgotten.
        rows = dict(libbpf.read_percpu_hash(self.maps["rows"], *decode.SIZES))
        mmus = libbpf.read_hash(self.maps["mmus"], *decode.MMU_SIZES)
        used = {"rows": len(rows), "mmus": len(mmus)}
        # As if they were of more CPUs.
        for key, values in libbpf.read_percpu_hash(self.maps["spare"], *decode.SIZES):
            rows[key] = rows.get(key, b"") + values
        counted = decode.snapshot(rows.items(), self.losses(), self.notifier_seen, mmus)
        return replace(counted, room=self._room(used), runs=self._runs())

    def losses(self) -> dict[str, int]:
        """What is not counted, by cause. Raises OSError."""
        losses = libbpf.read_array(self.maps["lost"], len(decode.LOSSES))
        skipped = sum(libbpf.run_stats(fd)[2] for fd in self.programs.values())
        return dict(zip(decode.LOSSES, losses, strict=True)) | {decode.RECURSION: skipped}

    def _room(self, used: Mapping[str, int]) -> dict[str, Room]:
        return {name: Room(n, libbpf.capacity(self.maps[name])) for name, n in used.items()}

    def _runs(self) -> dict[str, Runs]:
        return {name: Runs(*libbpf.run_stats(fd)[:2]) for name, fd in self.programs.items()}

    def forget(self, vm: VmKey, triggers: bool = False) -> None:
        """Delete the rows of a VM; triggers: they are told apart by who caused them."""
        for key in decode.keys_of(vm, triggers):
            libbpf.delete(self.maps["rows"], key)
            libbpf.delete(self.maps["spare"], key)
        for mmu in decode.mmus_of(vm, libbpf.read_hash(self.maps["mmus"], *decode.MMU_SIZES)):
            libbpf.delete(self.maps["mmus"], mmu)
