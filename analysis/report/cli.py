"""`nvscope report`: a trace as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.probes import complete
from nvscope.probes.errors import InputError

_EXAMPLES = """\b
Examples:
  nvscope report host.nvtrace
  nvscope report host.nvtrace -o /var/www/html/host.html --no-validate
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
    from nvscope.analysis.interop.errors import said_in_a_line, writing
    from nvscope.analysis.interop.sources import open_source
    from nvscope.analysis.report import verdicts
    from nvscope.analysis.report.gather import gather
    from nvscope.analysis.report.page import render

    target = output or file.with_suffix(".html")
    if target == file or (target.exists() and file.exists() and target.samefile(file)):
        raise InputError(f"{target} is the trace itself: name another file with -o")
    with said_in_a_line():
        with open_source(file) as reader:
            found = gather(reader)
        judged = verdicts.read(file) if validate else None
    with writing(target) as stream:
        stream.write(render(found, file.name, judged).encode())
    click.echo(target)
