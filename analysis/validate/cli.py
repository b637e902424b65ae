"""`nvscope validate`: does a trace show that the reverse map did the right thing?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nvscope.analysis.judging.findings import UNKNOWN, VIOLATION, Result
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate import formats
from nvscope.analysis.validate.require import MET, UNMET, Requirement, SpecError, answers, parse
from nvscope.probes.commands import complete
from nvscope.probes.errors import InputError, LackError, notice

EXIT_PASS, EXIT_VIOLATION, EXIT_UNREADABLE, EXIT_UNKNOWN = 0, 1, 2, 3
EXIT_INTERRUPTED = 130  # as of a shell: 128 + SIGINT

_EPILOG = """\b
Exit codes, of several files the first that any of them has:
  1  a violation, or what --require asks for is not so
  2  wrong usage, or a file that is no trace
  3  unknown: events are lost, say; or the machine, or the cluster, lacks something
  0  all that this kernel lets one judge was judged, and right
  130  interrupted by Ctrl-C
\b
SPEC of --require is one of these, or several with commas between them
  safety           it is judged, and right; so with fallback, precision, conformance
  precision<=1.5   notifiers unmapped at most 1.5 times the bytes that had to go
  full_unmaps=0    no notifier unmapped all of a shadow MMU
  Bounds may have <, <= or =.
\b
Examples:
  nvscope validate trace.arrows
  nvscope validate --require 'safety,precision<=1.5,full_unmaps=0' trace.arrows
  nvscope validate --format sarif -o findings.sarif *.arrows
  nvscope validate --follow trace.arrows
  nvscope validate - < trace.arrows    # or from ssh host nvscope record -
  zcat trace.arrows.gz | nvscope validate -
  nvscope validate --scheduler tcp://10.0.0.1:8786 /shared/fleet
"""


def _requirements(
    _: click.Context, __: click.Parameter, specs: tuple[str, ...]
) -> list[Requirement]:
    try:
        return [requirement for spec in specs for requirement in parse(spec)]
    except SpecError as error:
        raise InputError(f"--require: {error}") from None


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
    help=(
        "What to judge the kernel as; behaviour: as one of which nothing is known."
        "  [default: what the trace says; maple is maple-v2]"
    ),
)
@click.option(
    "--require",
    "required",
    metavar="SPEC",
    multiple=True,
    callback=_requirements,
    help="End with exit code 1 where this is not so, with 3 where it cannot be told. Repeatable.",
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
    help="Processes, each of which judges some of the VMs.  [default: 1; of a data set the CPUs]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help=(
        "Judge data sets on the Dask cluster of this scheduler (tcp://host:8786). Trusted ones"
        " only: what they send is unpickled here, and can run anything."
    ),
)
@click.option(
    "--follow",
    is_flag=True,
    help="Judge a file while it is recorded, until its end or Ctrl-C.",
)
def validate(
    files: tuple[Path, ...],
    variant: str | None,
    required: list[Requirement],
    form: str,
    output: Path | None,
    jobs: int | None,
    scheduler: str | None,
    follow: bool,
) -> None:
    """Judge what traces show of a kernel: its behaviour, and how its reverse map decides.

    FILE is what `nvscope record` or `nvscope convert` wrote, a text that the latter reads, a data
    set, which is a folder, or - for a trace from standard input.

    Each of these has a verdict of its own: no mapping survived a notifier unmap of what it led to
    (safety), whole MMUs were unmapped only where that had to be (fallback), no more was unmapped
    than that (precision), and each decision was the model's (conformance). Where events were
    lost, or mappings made before the trace began, it is "unknown".

    Safety, and how much notifiers unmapped of what had to go, are told of any kernel. The others
    are "not judged" where no model knows the kernel, or where it does not show its decisions.
    """
    # Imported here: the help needs no pyarrow.
    from nvscope.analysis.validate import dispatch
    from nvscope.analysis.validate.text import requirement_line

    try:
        judged = dispatch.judged(files, dispatch.How(variant, jobs, scheduler, follow))
    except KeyboardInterrupt:
        notice("interrupted")
        raise SystemExit(EXIT_INTERRUPTED) from None
    _write(formats.FORMATS[form](judged, required), output)
    for name, result in judged:
        if isinstance(result, str):
            notice(result)
            continue
        for answer in answers(result, required):
            if answer.answer != MET:
                notice(f"{name}: --require {requirement_line(answer)}")
    raise SystemExit(exit_code(judged, required))


def exit_code(judged: list[formats.Judged], required: Sequence[Requirement] = ()) -> int:
    """The worst of all files.

    >>> exit_code([("a", "a: No such file or directory")])
    2
    """
    said: set[str | None] = set()
    for _, result in judged:
        if isinstance(result, Result):
            said |= {result.verdict, *(answer.answer for answer in answers(result, required))}
        else:
            said.add(None)
    if said & {VIOLATION, UNMET}:
        return EXIT_VIOLATION
    if None in said:
        return EXIT_UNREADABLE
    return EXIT_UNKNOWN if UNKNOWN in said else EXIT_PASS


def _write(said: str, output: Path | None) -> None:
    if output is None:
        click.echo(said, nl=False)
        return
    try:
        output.write_bytes(said.encode("utf-8", "replace"))
    except OSError as error:
        raise LackError(f"cannot write {output}: {error.strerror}") from None
