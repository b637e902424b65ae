"""`nvscope record`: what happens to the shadow stage-2 MMUs of this host, event by event."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console

import nvscope
from nvscope.probes.commands import session
from nvscope.probes.commands.options import (
    duration_option,
    mechanisms_option,
    parsed,
    seconds,
    strict_option,
    symbols_option,
)
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.commands.record.status import cut_short, say_summary, status_line
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.traces import private
from nvscope.probes.traces.events import About
from nvscope.probes.vms.identity import Identities, require_initial_pid_namespace

if TYPE_CHECKING:
    from nvscope.probes.commands.record.recorder import Limits, Recorder
    from nvscope.probes.points.loader import Loaded

DEFAULT_BUFFER_MIB = 16
DRAIN_SECONDS = 0.1
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size_bytes(text: str) -> int:
    """Bytes in a size. Raises ValueError.

    >>> size_bytes("100M"), size_bytes("4096")
    (104857600, 4096)
    """
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text)
    if not match or not int(match[1]):
        raise ValueError(text)
    return int(match[1]) * _SIZES[match[2]]


@dataclass(frozen=True)
class RecordOptions:
    """What the user asked for. output: None is standard output; force: overwrite files."""

    output: Path | None
    force: bool
    duration: float | None
    limits: Limits
    mechanisms: tuple[str, ...]
    symbols: dict[str, str]
    strict: bool
    buffer_bytes: int
    points_file: PointsFile | None = None


_EXAMPLES = """\b
Examples:
  nvscope record trace.arrows
  nvscope record --duration 30s trace.arrows
  nvscope record --rotate-size 100M trace.arrows
  nvscope record --points my-kernel.toml trace.arrows
  ssh host nvscope record --count 10000 - > trace.arrows
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("output", metavar="FILE")
@duration_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after so many events.")
@click.option(
    "--rotate-size",
    metavar="SIZE",
    callback=parsed(size_bytes, "100M"),
    help="Begin a new file after so many bytes: FILE-00001, FILE-00002, …",
)
@click.option(
    "--rotate-time",
    metavar="TIME",
    callback=parsed(seconds, "10m"),
    help="Begin a new file after this time.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option(
    "--buffer",
    type=click.Choice(["1", "4", "16", "64", "256"]),
    metavar="MIB",
    default=str(DEFAULT_BUFFER_MIB),
    show_default=True,
    help="Size of the kernel's ring buffer, from 1 to 256. What does not fit is lost, and counted.",
)
@mechanisms_option
@symbols_option
@points_option
@strict_option
def record(
    output: str,
    duration: float | None,
    count: int | None,
    rotate_size: int | None,
    rotate_time: float | None,
    force: bool,
    buffer: str,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
) -> None:
    """Record what happens to shadow stage-2 MMUs to FILE, or to standard output (-).

    Attaches BPF programs to KVM (as root) and writes their events as an Arrow IPC stream, which
    `nvscope validate` and `nvscope report` read. Ends with Ctrl-C, SIGTERM, --duration or --count.
    A file whose end is missing, for a crash or a full disk, is readable to its last batch: a
    second at most is lost.

    A virtual machine that was there before has mappings that nobody saw being made. What is
    decided about them cannot be judged, until its shadow MMUs are unmapped whole.

    Exit codes: 0 recorded, 2 wrong usage, 3 the host lacks something (no KVM with nested guests,
    no rights, no room on the disk).
    """
    session.block()
    limits = _limits(count, rotate_size, rotate_time)
    path = None if output == "-" else Path(output)
    _check_output(path, limits, force)
    require_apart(points_file, symbols)
    buffer_bytes = int(buffer) << 20
    by = mechanisms or MECHANISMS
    run(
        RecordOptions(path, force, duration, limits, by, symbols, strict, buffer_bytes, points_file)
    )


def _limits(count: int | None, file_bytes: int | None, file_seconds: float | None) -> Limits:
    from nvscope.probes.commands.record.recorder import Limits  # the help needs no pyarrow

    return Limits(count, file_bytes, file_seconds)


def _check_output(path: Path | None, limits: Limits, force: bool) -> None:
    if path is None:
        if limits.rotate:
            raise click.UsageError("standard output cannot be rotated: give a FILE")
        if sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal: give a FILE, or redirect it")
        return
    from nvscope.probes.commands.record.recorder import rotated

    first = rotated(path, 1) if limits.rotate else path
    if first.exists() and not force:
        raise click.UsageError(f"{first} exists: choose another name, or --force")
    if not os.access(first if first.exists() else first.parent, os.W_OK):
        raise LackError(f"cannot write {first}: no such folder, or no right to")


def run(wanted: RecordOptions) -> None:
    """Attach, record until it is time to stop, detach."""
    require_initial_pid_namespace()
    console = Console(stderr=True)
    host = check.applied(wanted.points_file, features.read_host())
    features.require_host(host)
    with console.status("compiling and attaching the probes …"):
        loaded = _load(wanted)
    with contextlib.closing(loaded):
        session.report(loaded.attachments)
        recorder = _recorder(loaded, host, wanted)
        try:
            _record(recorder, wanted.duration, console)
            recorder.close()
        except BrokenPipeError:
            recorder.abandon()  # whoever read it has had enough
        except OSError as error:
            recorder.abandon()
            raise LackError(cut_short(error, wanted.output)) from None
        finally:
            say_summary(recorder.progress, wanted.output)


def _load(wanted: RecordOptions) -> Loaded:
    from nvscope.probes.points import loader  # the help and the errors above need no bcc

    return loader.load(
        mechanisms=wanted.mechanisms,
        symbols=wanted.symbols,
        strict=wanted.strict,
        ring_bytes=wanted.buffer_bytes,
        points_file=wanted.points_file,
    )


def _recorder(loaded: Loaded, host: features.Host, wanted: RecordOptions) -> Recorder:
    from nvscope.probes.commands.record.recorder import Recorder

    def open_next(number: int) -> IO[bytes]:
        return open_output(wanted, number)

    return Recorder(
        loaded, open_next, _about(loaded, host, wanted.points_file), wanted.limits, Identities()
    )


def open_output(wanted: RecordOptions, number: int) -> IO[bytes]:
    """The stream for the file of that number, from 1 on. Raises LackError."""
    from nvscope.probes.commands.record.recorder import rotated

    if wanted.output is None:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    path = rotated(wanted.output, number) if wanted.limits.rotate else wanted.output
    try:
        return open(path, "wb" if wanted.force else "xb", opener=private.opener)
    except OSError as error:
        raise LackError(f"cannot write {path}: {error.strerror}") from None


def _about(loaded: Loaded, host: features.Host, points: PointsFile | None) -> About:
    probes = {a.point: a.text for a in loaded.attachments}
    since_ns = time.monotonic_ns() - loaded.armed_ns
    return About(
        kernel=host.kernel,
        arch=platform.machine(),
        revmap=host.revmap,
        boot_id=BOOT_ID.read_text().strip(),
        started_ns=loaded.armed_ns,
        started_unix_ns=time.time_ns() - since_ns,
        probes=probes,
        recorder=f"nvscope {nvscope.__version__}",
        host=host.name,
        machine=host.machine.kind,
        points=f"{points.name} {points.digest}" if points else "",
        points_text=points.text if points else "",
    )


def _record(recorder: Recorder, duration: float | None, console: Console) -> None:
    began = time.monotonic()
    with status_line(console, recorder.progress, began) as show:
        click.echo("nvscope: recording", err=True)
        while not recorder.done:
            left = DRAIN_SECONDS if duration is None else began + duration - time.monotonic()
            stopped = session.stopped(min(DRAIN_SECONDS, left))
            recorder.step()
            show()
            if stopped or left <= 0:
                return
