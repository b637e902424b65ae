"""`nvscope report`: a trace as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.probes.commands import complete
from nvscope.probes.errors import InputError, shown

_EXAMPLES = """\b
Examples:
  nvscope report host.arrows
  nvscope report host.arrows -o /var/www/html/host.html --no-validate
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path), shell_complete=complete.files(".arrows"))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to put the page.  [default: beside FILE, with .html for an ending]",
)
@click.option(
    "--validate/--no-validate",
    default=True,
    show_default=True,
    help="Whether to run the trace through the reference model, and show the verdicts.",
)
def report(file: Path, output: Path | None, validate: bool) -> None:
    """Show what a trace holds, as one HTML page.

    The page needs no network, no other file and no script. FILE is what `nvscope record`
    or `nvscope convert` wrote, or a text that the latter reads.

    Exit codes: 0 ok, whatever the verdicts are; 2 FILE is no trace, or the page cannot be written.
    """
    # Imported here: the help needs no pyarrow.
    from nvscope.analysis.interop.errors import require_another, said_in_a_line, writing
    from nvscope.analysis.interop.pipes import is_pipe
    from nvscope.analysis.interop.sources import open_source
    from nvscope.analysis.report import verdicts
    from nvscope.analysis.report.measures.gather import gather
    from nvscope.analysis.report.page import render

    if is_pipe(file):
        raise InputError(f"{file}: a report reads it twice: a pipe will not do, a file will")
    target = output or file.parent / f"{file.stem}.html"
    require_another(target, file)
    with said_in_a_line():
        with open_source(file) as reader:
            found = gather(reader)
        judged = verdicts.read(file) if validate else None
    with writing(target) as stream:
        stream.write(render(found, file.name, judged).encode())
    click.echo(shown(target))
