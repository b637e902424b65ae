"""Validating a trace while it is being recorded."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.findings import Finding, Result
from nvscope.analysis.validate.run import batches_of, note_ending, variant_of
from nvscope.analysis.validate.subtrace import add_traces
from nvscope.probes.tracefile import Reader, TraceError

POLL_SECONDS = 0.2


class Growing:
    """A file that is read as it grows: a read waits for what it was asked for, until `stopped`."""

    def __init__(self, stream: IO[bytes], wait: Callable[[float], None] = time.sleep) -> None:
        self.stopped = False
        self._stream = stream
        self._wait = wait

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        while len(data) < size and not self.stopped:
            self._wait(POLL_SECONDS)
            data += self._stream.read(size - len(data))
        return data


def follow(path: Path, variant: str | None, tell: Callable[[Finding], None]) -> Result:
    """Judge a file batch by batch, until its recorder ends it or a signal comes.

    tell: is told of each finding as soon as it is made. Raises TraceError.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    with stream:
        growing = Growing(stream)
        try:
            with _stopping(growing):
                reader = Reader(growing)  # type: ignore[arg-type]
                engine = Engine(reader.about, variant_of(reader.about, variant))
                _run(reader, engine, tell)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None
    result = engine.finish()
    if not growing.stopped:
        note_ending(result, reader)
    chosen = variant_of(reader.about, variant)
    add_traces(result.findings, lambda: batches_of(path), reader.about, chosen)
    return result


def _run(reader: Reader, engine: Engine, tell: Callable[[Finding], None]) -> None:
    told = 0
    for batch in reader.batches():
        engine.feed(batch)
        for found in engine.result.findings[told:]:
            tell(found)
        told = len(engine.result.findings)


@contextlib.contextmanager
def _stopping(growing: Growing) -> Iterator[None]:
    """SIGINT and SIGTERM end the reading, not the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        growing.stopped = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
