"""`nvscope validate`: does a trace show that the reverse map did the right thing?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate import formats
from nvscope.analysis.validate.findings import PASS, VIOLATION, Finding, Result
from nvscope.probes import complete
from nvscope.probes.errors import LackError

if TYPE_CHECKING:
    from nvscope.analysis.validate import run

EXIT_PASS, EXIT_VIOLATION, EXIT_UNREADABLE, EXIT_UNKNOWN = 0, 1, 2, 3

_LARGE_BYTES = 1 << 22  # a file of which it takes a while to say anything: a second or so

_EPILOG = """\b
Exit codes, of several files the first that any of them has:
  1  the kernel did something that the reference model forbids
  2  wrong usage, or a file that is no trace
  3  unknown: something could not be judged, or there was nothing to judge
  0  all was judged, and right
\b
Examples:
  nvscope validate trace.arrows
  nvscope validate --format sarif -o findings.sarif *.arrows
  nvscope validate --follow trace.arrows
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete.files(".arrows"),
)
@click.option(
    "--variant",
    type=click.Choice(list(VARIANTS)),
    help="What to judge the kernel as.  [default: what the trace says; maple is maple-v2]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(formats.FORMATS)),
    default="text",
    show_default=True,
    help="What to print.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it.  [default: standard output]",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes, each of which judges a share of the VMs.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Judge a file while it is recorded, until its end or Ctrl-C.",
)
def validate(
    files: tuple[Path, ...],
    variant: str | None,
    form: str,
    output: Path | None,
    jobs: int,
    follow: bool,
) -> None:
    """Check traces against the reference model of the reverse map.

    A trace passes if no mapping survived a notifier unmap of what it led to (safety), if whole
    MMUs were unmapped only where that had to be (fallback), if no more was unmapped than that
    (precision), and if each decision was the model's (conformance). Where events were lost, or
    mappings made before the trace began, the answer is "unknown".
    """
    if follow and (len(files) > 1 or jobs > 1):
        raise click.UsageError("--follow takes one FILE, and one process")
    judged = [_judged(path, variant, jobs, follow) for path in files]
    _write(formats.FORMATS[form](judged), output)
    for _, result in judged:
        if isinstance(result, str):
            click.echo(f"nvscope: {result}", err=True)
    raise SystemExit(exit_code(judged))


def exit_code(judged: list[formats.Judged]) -> int:
    """The worst of all files.

    >>> exit_code([("a", "a: No such file or directory")])
    2
    """
    verdicts = [r.verdict if isinstance(r, Result) else None for _, r in judged]
    if VIOLATION in verdicts:
        return EXIT_VIOLATION
    if None in verdicts:
        return EXIT_UNREADABLE
    return EXIT_PASS if set(verdicts) == {PASS} else EXIT_UNKNOWN


def _judged(path: Path, variant: str | None, jobs: int, follow: bool) -> formats.Judged:
    # Imported here: the help needs no pyarrow.
    from nvscope.analysis.validate import run
    from nvscope.analysis.validate.follow import follow as follow_file
    from nvscope.probes.tracefile import TraceError

    try:
        if follow:
            return str(path), follow_file(path, variant, _tell)
        with _progress(path, jobs) as progress:
            return str(path), run.validate(path, variant=variant, jobs=jobs, progress=progress)
    except TraceError as error:
        return str(path), str(error)


def _tell(found: Finding) -> None:
    click.echo(f"nvscope: {found.invariant}: {formats.message(found)}", err=True)


def _write(said: str, output: Path | None) -> None:
    if output is None:
        click.echo(said, nl=False)
        return
    try:
        output.write_text(said)
    except OSError as error:
        raise LackError(f"cannot write {output}: {error.strerror}") from None


@contextlib.contextmanager
def _progress(path: Path, jobs: int) -> Iterator[run.BytesProgress]:
    """A bar on a terminal, if the file is large. How many rows are left is not known: bytes are."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    try:
        total = path.stat().st_size
    except OSError:
        total = 0
    if not console.is_terminal or total < _LARGE_BYTES or jobs > 1:
        yield lambda rows, read: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task, seen = bar.add_task(path.name, total=total), 0

        def show(rows: int, read: int) -> None:
            nonlocal seen
            seen += rows
            bar.update(task, completed=read, description=f"{path.name}: {seen:,} rows")

        yield show
