"""From drained bytes to trace files: losses in their place, rotation, limits, what a disk does."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from nvscope.probes.commands.record import ring
from nvscope.probes.commands.record.recorder import Limits, Recorder, rotated
from nvscope.probes.counts.decode import LOSSES
from nvscope.probes.traces.events import KINDS, About, Event
from nvscope.probes.traces.tracefile import Reader, open_trace
from nvscope.probes.vms.identity import Identities

KIND_CODES = {name: code for code, name in enumerate(KINDS)}
ARMED_NS = 100
NOBODY = (1 << 22) + 1  # above PID_MAX_LIMIT of the kernel


def raw(*times_ns: int, kind: str = "map", **fields: object) -> bytes:
    """Events as the kernel writes them."""
    rows = np.zeros(len(times_ns), ring.EVENT)
    rows["time_ns"] = times_ns
    rows["kind"] = KIND_CODES[kind]
    for name, value in fields.items():
        rows[name] = value
    return rows.tobytes()


class FakeSource:
    """Gives what it is told to, a step at a time."""

    armed_ns = ARMED_NS

    def __init__(self, *steps: tuple[bytes, Mapping[str, int]]) -> None:
        self._steps = list(steps)

    def drain(self) -> tuple[bytes, dict[str, int]]:
        events, lost = self._steps.pop(0)
        return events, dict(lost)


def record(source: FakeSource, steps: int, limits: Limits | None = None) -> list[Event]:
    stream = Kept()
    recorder = Recorder(source, lambda _: stream, About(), limits or Limits(), Identities())
    for _ in range(steps):
        recorder.step()
    recorder.close()
    reader = Reader(io.BytesIO(stream.content))
    found = list(reader.events())
    assert reader.complete
    data_rows = [event for event in found if event.kind != "loss"]
    assert recorder.progress.events == len(data_rows)
    assert recorder.progress.written_bytes == len(stream.content)
    return found


class Kept(io.BytesIO):
    """Still has its content when it is closed."""

    content = b""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def test_every_field_arrives() -> None:
    fields = {
        "kvm": 1 << 63,
        "mmu": 2,
        "canonical_ipa": 3,
        "nested_ipa": 1 << 51,
        "size": 4096,
        "duration_ns": 5,
        "pid": NOBODY,
        "tid": 7,
        "result": -11,
        "cpu": 3,
        "full": 1,
        "comm": b"qemu",
        "detail": 2,
    }
    [event] = record(FakeSource((raw(ARMED_NS, kind="unmap_end", **fields), {})), 1)
    assert event == Event(
        "unmap_end",
        ARMED_NS,
        cpu=3,
        tid=7,
        comm="qemu",
        kvm=1 << 63,
        pid=NOBODY,
        mmu=2,
        canonical_ipa=3,
        nested_ipa=1 << 51,
        size=4096,
        detail="tlbi",
        result=-11,
        full=True,
        duration_ns=5,
    )


@pytest.mark.parametrize(
    ("kind", "code", "word"),
    [
        ("record", 1, "stored"),
        ("record", 5, "skipped"),
        ("record", 0, "unknown"),
        ("fallback", 1, "broken"),
        ("fallback", 3, "raced"),
        ("fallback", 4, "unknown"),
        ("unmap_begin", 1, "notifier"),
        ("unmap_end", 3, "recycling"),
        ("map", 0, ""),
    ],
)
def test_details_by_kind(kind: str, code: int, word: str) -> None:
    [event] = record(FakeSource((raw(ARMED_NS, kind=kind, detail=code), {})), 1)
    assert event.detail == word


def test_what_came_before_all_was_attached_is_left_out() -> None:
    source = FakeSource((raw(ARMED_NS - 1, ARMED_NS, ARMED_NS + 1), {}), (raw(1), {}))
    times = [event.time_ns for event in record(source, 2)]
    assert times == [ARMED_NS, ARMED_NS + 1, 1]


def test_losses_come_before_what_was_drained_with_them() -> None:
    none = dict.fromkeys(LOSSES, 0)
    source = FakeSource(
        (raw(101), none),
        (raw(102), none | {"ring_full": 3}),
        (raw(103), none | {"ring_full": 3}),
        (raw(104), none | {"ring_full": 5, "start_full": 1}),
    )
    found = [(e.kind, e.detail, e.count) for e in record(source, 4)]
    step = ("map", "", 0)
    assert found == [
        step,
        ("loss", "ring_full", 3),
        step,
        step,
        ("loss", "start_full", 1),
        ("loss", "ring_full", 2),
        step,
    ] or found == [
        step,
        ("loss", "ring_full", 3),
        step,
        step,
        ("loss", "ring_full", 2),
        ("loss", "start_full", 1),
        step,
    ]


def test_it_stops_at_the_count() -> None:
    source = FakeSource((raw(101, 102), {}), (raw(103, 104, 105), {}))
    assert len(record(source, 2, Limits(events=4))) == 4


def test_two_unknown_vms_of_one_process() -> None:
    rows = raw(101, kvm=1, pid=NOBODY) + raw(102, kvm=2, pid=NOBODY)
    assert [event.vm for event in record(FakeSource((rows, {})), 1)] == ["", ""]


def test_rotation(tmp_path: Path) -> None:
    base = tmp_path / "trace.arrows"
    source = FakeSource(*[(raw(200 + i), {}) for i in range(3)])
    limits = Limits(file_bytes=1)
    recorder = Recorder(
        source, lambda n: rotated(base, n).open("wb"), About(kernel="7"), limits, Identities()
    )
    for _ in range(3):
        recorder.step()
        recorder.flush()
    recorder.close()
    times = []
    for path in sorted(tmp_path.iterdir()):
        with open_trace(path) as reader:
            assert reader.about.kernel == "7"
            times.append([event.time_ns for event in reader.events()])
            assert reader.complete
    assert times == [[200], [201], [202], []]
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert recorder.progress.written_bytes == sum(sizes)


class FullDisk(Kept):
    """Has room for so many bytes."""

    room = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_leaves_what_was_written() -> None:
    stream: FullDisk = FullDisk()
    stream.room = 1 << 30
    source = FakeSource(*[(raw(200 + i), {}) for i in range(3)])

    def opened(_: int) -> IO[bytes]:
        return stream

    recorder = Recorder(source, opened, About(), Limits(), Identities())
    recorder.step()
    recorder.flush()
    stream.room = stream.tell() + 100
    recorder.step()
    with pytest.raises(OSError, match="No space left"):
        recorder.flush()
    reader = Reader(io.BytesIO(stream.getvalue()))
    assert [event.time_ns for event in reader.events()] == [200]
    assert not reader.complete
