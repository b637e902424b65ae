"""Recording: from the ring buffer of the probes to trace files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from nvscope.probes.commands.record import ring
from nvscope.probes.counts.snapshot import VmKey
from nvscope.probes.traces.events import About
from nvscope.probes.traces.tracefile import Writer
from nvscope.probes.vms.identity import Identities

FLUSH_SECONDS = 1.0  # what a crash can cost
FLUSH_ROWS = 1 << 16


class EventSource(Protocol):
    """What is recorded: probes.points.loader.Loaded."""

    armed_ns: int

    def drain(self) -> tuple[bytes, dict[str, int]]: ...


@dataclass
class Progress:
    """What has been recorded so far. lost: cause -> events."""

    events: int = 0
    written_bytes: int = 0
    files: int = 0
    lost: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """When to stop and when to begin a new file; None: never. Times in seconds."""

    events: int | None = None
    file_bytes: int | None = None
    file_seconds: float | None = None

    @property
    def rotate(self) -> bool:
        """Whether there can be more than one file."""
        return self.file_bytes is not None or self.file_seconds is not None


class Counted:
    """A binary stream that knows how many bytes went through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.bytes = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        self.bytes += len(memoryview(data).cast("B"))
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def rotated(path: Path, number: int) -> Path:
    """The name of the file of that number, from 1 on.

    >>> str(rotated(Path("a/trace.arrows"), 12))
    'a/trace-00012.arrows'
    """
    return path.with_name(f"{path.stem}-{number:05d}{path.suffix}")


class Recorder:
    """Reads the source, and writes batches to the streams that `open_next` gives.

    open_next: the number of a file, from 1 on -> a stream to write it to. Not for two threads.
    Raises OSError where a stream does; what was written before stays readable.
    """

    def __init__(
        self,
        source: EventSource,
        open_next: Callable[[int], IO[bytes]],
        about: About,
        limits: Limits,
        identities: Identities,
    ) -> None:
        self.progress = Progress()
        self._source = source
        self._open_next = open_next
        self._about = about
        self._limits = limits
        self._identities = identities
        self._names: dict[VmKey, str] = {}
        self._pending: list[np.ndarray[Any, Any]] = []
        self._flushed = self._opened = time.monotonic()
        self._first_drain = True
        self._open()

    @property
    def done(self) -> bool:
        """Whether as many events are recorded as were asked for."""
        return self._limits.events is not None and self.progress.events >= self._limits.events

    def step(self) -> None:
        """Take over what has happened; write it where it is time to."""
        raw, lost = self._source.drain()
        rows = ring.decoded(raw)
        if self._first_drain:
            # What came before all was attached has gaps that nobody counted.
            rows = rows[rows["time_ns"] >= self._source.armed_ns]
            self._first_drain = False
        self._note_losses(lost)
        if self._limits.events is not None:
            rows = rows[: self._limits.events - self.progress.events]
        if len(rows):
            self._pending.append(rows)
            self.progress.events += len(rows)
            self._look_up(ring.vms(rows) - self._names.keys())
        waiting = sum(map(len, self._pending))
        if waiting >= FLUSH_ROWS or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, and begin a new file where the limits say so."""
        self._flushed = time.monotonic()
        if self._pending:
            rows = np.concatenate(self._pending)
            self._pending.clear()
            self._writer.write(ring.columns(rows, self._names))
            self._forget(rows)
            self.progress.written_bytes = self._closed_bytes + self._stream.bytes
        if self._file_is_full():
            self._finish_file()
            self._open()

    def close(self) -> None:
        """Write the rest, and mark the end."""
        self.flush()
        self._finish_file()

    def abandon(self) -> None:
        """Let go of a stream that takes no more; what waits to be written is lost."""
        with contextlib.suppress(OSError):
            self._raw.close()

    def _note_losses(self, lost: Mapping[str, int]) -> None:
        """Losses come before the rows that were drained with them: see Loaded.drain."""
        before = self.progress.lost
        new = {cause: n - before.get(cause, 0) for cause, n in lost.items()}
        new = {cause: n for cause, n in new.items() if n > 0}
        if new:
            self._pending.append(ring.losses(new, time.monotonic_ns()))
        self.progress.lost = {cause: n for cause, n in lost.items() if n}

    def _look_up(self, new: set[VmKey]) -> None:
        """Name VMs that turned up, at once: some live for less than a flush."""
        if new:
            alive = self._identities.refresh(self._names.keys() | new)
            self._names |= {key: alive[key].label if key in alive else "" for key in new}

    def _forget(self, rows: np.ndarray[Any, Any]) -> None:
        """VMs that have ended: their struct kvm may be another one's soon."""
        for key in ring.vms(rows[rows["kind"] == ring.VM_EXIT]):
            self._names.pop(key, None)

    def _file_is_full(self) -> bool:
        size, seconds = self._limits.file_bytes, self._limits.file_seconds
        too_large = size is not None and self._stream.bytes >= size
        return too_large or (seconds is not None and time.monotonic() - self._opened >= seconds)

    def _open(self) -> None:
        self._opened = time.monotonic()
        self._closed_bytes = self.progress.written_bytes
        self.progress.files += 1
        self._raw = self._open_next(self.progress.files)
        self._stream = Counted(self._raw)
        self._writer = Writer(self._stream, self._about)  # type: ignore[arg-type]

    def _finish_file(self) -> None:
        self._writer.close()
        self.progress.written_bytes = self._closed_bytes + self._stream.bytes
        self._raw.close()
