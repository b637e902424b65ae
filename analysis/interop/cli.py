"""`nvscope convert`: traces to other formats, and recordings of other tools to traces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import click

from nvscope.analysis.interop import formats
from nvscope.probes.errors import notice, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from nvscope.probes.traces.events import About
    from nvscope.probes.traces.tracefile import TraceSource

_EXAMPLES = """\b
Examples:
  nvscope convert host.arrows host.parquet      # to keep
  nvscope convert host.arrows host.json.gz      # for ui.perfetto.dev
  nvscope convert nv.ftrace host.arrows         # recorded without nvscope
  zcat nv.ftrace.gz | nvscope convert - host.arrows
  nvscope convert --partition host.arrows fleet # into a data set of many hosts' traces
  nvscope convert --recipe ftrace > record.sh   # how to do that, on this kernel
"""


_STDIO = Path("-")


class _Sink(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self, ending: str) -> None: ...


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="IN", type=click.Path(path_type=Path), required=False)
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path), required=False)
@click.option(
    "--from",
    "source_format",
    type=click.Choice(formats.SOURCES),
    help="Format of IN.  [default: what its content says]",
)
@click.option(
    "--to",
    "target_format",
    type=click.Choice(formats.TARGETS),
    help="Format of OUT.  [default: by its name's ending; else a trace]",
)
@click.option(
    "--partition",
    is_flag=True,
    help="Write into the folder OUT, a data set of traces: the rows of each VM apart, as Parquet.",
)
@click.option(
    "--revmap",
    type=click.Choice(("none", "maple", "tracking", "unknown")),
    help="The reverse map of the kernel, where IN is a text without a recipe's header.",
)
@click.option(
    "--recipe",
    "tool",
    type=click.Choice(("ftrace", "perf")),
    help="Print the commands that record with this tool on this kernel, and do nothing else.",
)
def convert(
    source: Path | None,
    target: Path | None,
    source_format: str | None,
    target_format: str | None,
    partition: bool,
    revmap: str | None,
    tool: str | None,
) -> None:
    """Convert the trace IN to OUT.

    Written are traces, Parquet, and JSON for Perfetto. Read are traces, Parquet, and texts of
    trace-cmd, ftrace and perf of the kprobe events that --recipe prints. IN can be a pipe, or -
    for standard input; OUT can be - for standard output.

    A data set, which --partition writes, holds the traces of any number of hosts; `nvscope
    validate` judges its VMs apart from one another, in many processes or on a Dask cluster.

    Exit codes: 0 ok, 2 IN cannot be read or OUT cannot be written, 3 no recipe for this kernel, or
    no room on the disk.
    """
    if tool:
        _print_recipe(tool)
        return
    if source is None or target is None:
        raise click.UsageError("IN and OUT are both needed")
    if partition and target_format:
        raise click.UsageError("--partition writes Parquet: it goes without --to")
    if partition and target == _STDIO:
        raise click.UsageError("--partition writes into a folder: name one as OUT")
    # Imported here: the help needs no pyarrow.
    from nvscope.analysis.interop.errors import require_another, said_in_a_line
    from nvscope.analysis.interop.sources import notes_of, open_source

    if target != _STDIO:
        require_another(target, source)
    with said_in_a_line(), open_source(source, source_format or "", revmap or "") as opened:
        if partition:
            rows = _partition(opened, "stdin" if source == _STDIO else source.stem, target)
        else:
            rows = _convert(opened, target, target_format or "")
    for note in notes_of(opened):
        notice(note)
    click.echo(f"{shown(target)}: {rows} rows", err=target == _STDIO)


def _convert(source: TraceSource, target: Path, to: str) -> int:
    with _writing(target) as stream:
        return _copy(source, _sink(stream, target, to, source.about))


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[IO[bytes]]:
    from nvscope.analysis.interop import errors, pipes

    with (
        pipes.writing_stdout()
        if target == _STDIO
        else errors.writing(target, private=True) as stream
    ):
        yield stream


def _partition(source: TraceSource, name: str, target: Path) -> int:
    from nvscope.analysis.interop.files import partition

    with partition.writing(target, source.about.boot_id, name) as folder:
        return _copy(source, partition.Sink(folder, source.about))


def _copy(source: TraceSource, sink: _Sink) -> int:
    rows = 0
    for batch in source.batches():
        sink.write(batch)
        rows += batch.num_rows
    sink.close(source.ending)
    return rows


def _sink(stream: IO[bytes], target: Path, name: str, about: About) -> _Sink:
    from nvscope.analysis.interop.files import arrow, parquet
    from nvscope.analysis.interop.perfetto import perfetto

    name = name or formats.target_of(target)
    if name == "parquet":
        return parquet.Sink(stream, about)
    if name == "perfetto":
        return perfetto.Sink(stream, about, compress=target.name.endswith(".gz"))
    return arrow.Sink(stream, about)


def _print_recipe(tool: str) -> None:
    from nvscope.analysis.interop.texts.commands import ftrace_commands, perf_commands
    from nvscope.analysis.interop.texts.recipe import recipe_here

    made = recipe_here()
    for line in (ftrace_commands if tool == "ftrace" else perf_commands)(made):
        click.echo(line)
