"""Validating a trace while it is being recorded: a file that grows, or a pipe."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from nvscope.analysis.interop.content import STREAM
from nvscope.analysis.interop.files.stored import Numbered
from nvscope.analysis.interop.pipes import copied, is_pipe, opened
from nvscope.analysis.judging.findings import Finding, Result
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.analysis.validate.jobs import pipe
from nvscope.analysis.validate.jobs.parts import note_ending, numbered, variant_of
from nvscope.analysis.validate.jobs.presumed import BEHAVIOUR, NOTE, has_unknown_revmap
from nvscope.analysis.validate.jobs.run import validate
from nvscope.analysis.validate.subtrace import Traced, sub_traces, to_be_traced
from nvscope.probes.traces.tracefile import Reader, TraceError, open_trace

NOT_KEPT = "no sub-trace: a pipe is read once, and it was too much to keep"
POLL_SECONDS = 0.2


class _Live(Protocol):
    """What is being recorded. is_cut: stopped by a signal before the recorder finished."""

    is_cut: bool

    def stop(self) -> None: ...

    def read(self, size: int = -1) -> bytes: ...


class Growing:
    """A file that is read as it grows: a read waits for what it was asked for, until `stop`."""

    def __init__(self, stream: IO[bytes], wait: Callable[[float], None] = time.sleep) -> None:
        self.is_cut = False
        self._stream = stream
        self._wait = wait

    def stop(self) -> None:
        """Wait for no more."""
        self.is_cut = True

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        data = self._stream.read(size)
        while len(data) < size and not self.is_cut:
            self._wait(POLL_SECONDS)
            data += self._stream.read(size - len(data))
        return data

    def read_now(self, size: int) -> bytes:
        """What is there already: behind the end of a trace there is nothing to wait for."""
        return self._stream.read(size)


def follow(path: Path, variant: str | None, tell: Callable[[Finding], None]) -> Result:
    """Judge a file or a pipe batch by batch, until its recorder ends it or a signal comes.

    What comes out of a pipe and is no trace, a text or Parquet, is judged once it is all there.
    tell: is told of each finding as soon as it is made. Raises TraceError.
    """
    with _opened(path) as stream:
        try:
            if is_pipe(path):
                with contextlib.closing(pipe.Piped(stream)) as piped:
                    if not _is_trace(piped):
                        return _judged_whole(piped, path, variant)
                    return _judged(piped, piped.again, variant, tell)
            return _judged(Growing(stream), lambda: _again(path), variant, tell)
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None


def _is_trace(piped: pipe.Piped) -> bool:
    with _stopping(piped):
        return piped.starts_with(STREAM)


def _judged_whole(piped: pipe.Piped, path: Path, variant: str | None) -> Result:
    piped.close()  # it is kept here
    with copied(piped, path) as copy:
        try:
            return validate(copy, variant=variant)
        except TraceError as error:
            raise TraceError(str(error).removeprefix(f"{copy}: ")) from None


def _judged(
    live: _Live,
    again: Callable[[], Iterator[Numbered] | None],
    variant: str | None,
    tell: Callable[[Finding], None],
) -> Result:
    with _stopping(live):
        reader = Reader(live)  # type: ignore[arg-type]
        chosen = variant_of(reader.about, variant)
        engine = Engine(reader.about, chosen)
        # Whether a kernel that says so has no reverse map, its last row can tell.
        deferred = () if variant or chosen.revmap else ("fallback",)
        _run(reader, engine, tell, deferred)
    result = engine.finish()
    if has_unknown_revmap(result, variant):
        chosen = VARIANTS[BEHAVIOUR]
        result = _judged_again(again(), Engine(reader.about, chosen))
    else:
        for finding in result.findings:
            if finding.invariant in deferred:
                tell(finding)
    if not live.is_cut:
        note_ending(result, reader)
    first = to_be_traced(result.findings)
    rows = again() if first else iter(())
    if rows is None:
        traced: list[Traced] = [([], NOT_KEPT) for _ in first]
    else:
        traced = sub_traces(first, rows, reader.about, chosen)
    for finding, (shown, note) in zip(first, traced, strict=True):
        finding.trace, finding.note = shown, note
    return result


def _judged_again(rows: Iterator[Numbered] | None, engine: Engine) -> Result:
    if rows is None:
        raise TraceError(f"{NOTE}; that takes a file, or --variant {BEHAVIOUR} from the start")
    for numbers, batch in rows:
        engine.feed(batch, numbers)
    result = engine.finish()
    result.notes.append(NOTE)
    return result


def _again(path: Path) -> Iterator[Numbered]:
    with open_trace(path) as reader:
        yield from numbered(reader)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if is_pipe(path):
        yield opened(path)
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    with stream:
        yield stream


def _run(
    reader: Reader, engine: Engine, tell: Callable[[Finding], None], deferred: Container[str]
) -> None:
    told: dict[int, Finding] = {}
    for batch in reader.batches():
        engine.feed(batch)
        for found in engine.result.findings:
            if id(found) not in told and found.invariant not in deferred:
                tell(found)
                told[id(found)] = found


@contextlib.contextmanager
def _stopping(live: _Live) -> Iterator[None]:
    """SIGINT and SIGTERM end the reading, not the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        live.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
