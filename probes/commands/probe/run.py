"""A probe from its begin to its end: attach, measure until it is time to stop, sum up."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import click
from rich.console import Console

from nvscope.probes.commands import session
from nvscope.probes.commands.probe import result, running, text
from nvscope.probes.commands.probe.meter import Asked, Interval, Meter
from nvscope.probes.commands.probe.slow import SHOWN, Slow, SlowCalls, calls, key_of
from nvscope.probes.commands.probe.view import LineView, LiveView, View, as_text
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.catalog.points import BY_NAME, applicable, makes_sense
from nvscope.probes.points.modes import Probing
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.vms.changes import SnapshotSource
from nvscope.probes.vms.identity import require_initial_pid_namespace

if TYPE_CHECKING:
    from nvscope.probes.points.loader import Loaded

STDOUT = "-"
SLOW_RING_BYTES = 16 << 20  # some 33,000 slow calls
DRAIN_SECONDS = 0.5


@dataclass(frozen=True)
class ProbeOptions:
    """What the user asked for. duration, interval: seconds, duration None: until Ctrl-C;
    threshold_ns: 0: no slow calls; json_to, csv_to: a file, STDOUT, or None.
    """

    asked: Asked
    duration: float | None
    interval: float
    threshold_ns: int
    json_to: str | None
    csv_to: str | None
    mechanisms: tuple[str, ...]
    symbols: Mapping[str, str]
    strict: bool
    points_file: PointsFile | None = None

    @property
    def stdout_taken(self) -> bool:
        """Whether standard output is for a program to read."""
        return STDOUT in (self.json_to, self.csv_to)


def run(wanted: ProbeOptions) -> None:
    """Measure, show it, write it. Raises LackError."""
    require_initial_pid_namespace()
    host = check.applied(wanted.points_file, features.read_host())
    features.require_host(host)
    has = Btf().has_function
    require_revmap(wanted.asked, host, has, wanted.points_file)
    for path in (wanted.json_to, wanted.csv_to):
        _require_writable(path)
    running.require(wanted.asked.vms)
    with Console(stderr=True).status("compiling and attaching the probe …"):
        loaded = _load(wanted, host, has)
    with contextlib.closing(loaded):
        session.report(a for a in loaded.attachments if not a.optional)
        Run(loaded, wanted, host).run()


def require_revmap(
    asked: Asked,
    host: features.Host,
    has: Callable[[str], bool],
    points: PointsFile | None = None,
) -> None:
    """Raise LackError where there is no such thing on this host, nor in a points file.

    has: see catalog.makes_sense.
    """
    if points and asked.kind.name in points.hooks:
        return
    if not makes_sense(BY_NAME[asked.kind.name], host.revmap, has):
        raise LackError(
            f"{asked.kind.name}: nothing to measure, this kernel has no such reverse map"
            f" (or it is turned off): {host.revmap}"
        )


def _require_writable(path: str | None) -> None:
    if path in (None, STDOUT):
        return
    place = Path(path)
    if place.is_dir() or not os.access(place if place.exists() else place.parent, os.W_OK):
        raise LackError(f"cannot write {path}: no such folder, or no right to")


def _load(wanted: ProbeOptions, host: features.Host, has: Callable[[str], bool]) -> Loaded:
    from nvscope.probes.points import loader  # the help and the errors above need no bcc

    kind = wanted.asked.kind
    # Slow calls are shown with all that can be told of them.
    axes = kind.axes if wanted.threshold_ns else wanted.asked.by
    possible = {*applicable(host.revmap, has=has), "numa_scan"}
    if wanted.points_file:
        possible |= {*wanted.points_file.hooks}
    points = [point for point in kind.attached(axes) if point in possible]
    probing = Probing(kind.name, "trigger" in axes, wanted.threshold_ns)
    loaded = loader.load(
        points,
        mechanisms=wanted.mechanisms,
        symbols=wanted.symbols,
        strict=wanted.strict,
        ring_bytes=SLOW_RING_BYTES if wanted.threshold_ns else 0,
        probing=probing,
        points_file=wanted.points_file,
    )
    for a in loaded.attachments:
        if a.point == kind.name and not a.mechanism:
            loaded.close()
            raise LackError(f"{a.point} ({a.hook}): {a.problem}")
    return loaded


class Probed(SnapshotSource, Protocol):
    """What is measured: probes.points.loader.Loaded."""

    attachments: tuple[Attachment, ...]

    def detach(self) -> None: ...

    def drain(self) -> tuple[bytes, dict[str, int]]: ...

    def symbol(self, address: int) -> str: ...


class Run:
    """One run of an attached probe."""

    def __init__(self, loaded: Probed, wanted: ProbeOptions, host: features.Host) -> None:
        self._loaded = loaded
        self._wanted = wanted
        self._host = host
        self._console = Console(stderr=wanted.stdout_taken)
        self._slow = SlowCalls(wanted.asked.kind.name, wanted.asked.vms, loaded.symbol)
        self._unix_ahead_ns = time.time_ns() - time.monotonic_ns()
        if wanted.threshold_ns:
            loaded.drain()  # what came before the begin
        self._started_unix_ns = time.time_ns()
        self._meter = Meter(loaded, wanted.asked, host.revmap)
        points = {a.point: a for a in loaded.attachments}
        self._attached = points.get(wanted.asked.kind.name)

    def run(self) -> None:
        """Measure until it is time to stop; then sum up, whatever ended it."""
        with session.until_reader_goes():
            self._measure()
        with session.until_reader_goes():
            self._summary()
        if path := self._wanted.json_to:
            with session.until_reader_goes(), _writing(path):
                self._write(path)

    def _measure(self) -> None:
        with contextlib.ExitStack() as stack:
            add = self._rows(stack)
            where = f" ({self._attached.text})" if self._attached else ""
            click.echo(f"nvscope: measuring {self._wanted.asked.kind.name}{where}", err=True)
            view = stack.enter_context(self._view())
            for now, slow, more in self._intervals():
                add(now)
                view.show(now, self._meter.total, slow, more)

    def _rows(self, stack: contextlib.ExitStack) -> Callable[[Interval], None]:
        """What writes the rows of an interval, if they are asked for."""
        path = self._wanted.csv_to
        if path is None:
            return lambda _: None
        with _writing(path):
            stream = sys.stdout if path == STDOUT else Path(path).open("w")  # noqa: SIM115 (stack)
            if path != STDOUT:
                stack.callback(_let_go, stream)
            rows = result.Rows(stream, self._wanted.asked.by)

        def add(interval: Interval) -> None:
            with _writing(path):
                rows.add(interval)

        return add

    def _view(self) -> View:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            return LiveView(self._console, self._wanted.asked)
        return LineView(err=self._wanted.stdout_taken)

    def _intervals(self) -> Iterator[tuple[Interval, list[Slow], int]]:
        """Each interval, its first slow calls, and how many more there are; the last one ends when
        all does.
        """
        begun = next_at = time.monotonic()
        ends_at = float("inf") if self._wanted.duration is None else begun + self._wanted.duration
        done = False
        while not done:
            next_at = max(next_at + self._wanted.interval, time.monotonic())
            slow: list[Slow] = []
            more, over = 0, False
            while not over:
                until = min(next_at, ends_at) - time.monotonic()
                stopped = session.stopped(min(until, DRAIN_SECONDS))
                done = stopped or time.monotonic() >= ends_at
                over = done or time.monotonic() >= next_at
                if done:
                    # Else a call that ends now could be counted, and missing among the slow ones.
                    self._loaded.detach()
                new = self._take_slow()
                room = SHOWN - len(slow)
                slow += new[:room]
                more += len(new[room:])
            yield self._meter.step(), slow, more

    def _take_slow(self) -> list[Slow]:
        if not self._wanted.threshold_ns:
            return []
        new = calls(self._loaded.drain()[0])
        self._meter.names.add(map(key_of, new))
        return self._slow.take(new, self._meter.names, self._unix_ahead_ns)

    def _summary(self) -> None:
        shown = as_text(self._console, text.summary(self._wanted.asked, self._meter.total))
        click.echo(shown, err=self._wanted.stdout_taken, nl=False)

    def _write(self, path: str) -> None:
        if path == STDOUT:
            result.write_json(sys.stdout, self._result())
            return
        with Path(path).open("w") as stream:
            result.write_json(stream, self._result())

    def _result(self) -> dict[str, Any]:
        return result.as_dict(
            self._wanted.asked,
            self._host,
            self._started_unix_ns,
            self._meter.total,
            self._slow.kept,
            self._slow.dropped,
            self._attached,
        )


def _let_go(stream: IO[str]) -> None:
    """Each row was flushed when it was written: what fails now has been told."""
    with contextlib.suppress(OSError):
        stream.close()


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """What cannot be written is said in a line: LackError; not that a reader goes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LackError(f"cannot write {path}: {error.strerror}") from None
