"""`nvscope verify`: do the page tables map what a trace says that they map?"""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.probes.commands import complete
from nvscope.probes.commands.options import parsed, seconds
from nvscope.probes.errors import InputError

_EXIT = {"equal": 0, "differs": 1, "changing": 3, "unknown": 3}

_EPILOG = """\b
Exit codes:
  0  equal: each shadow MMU maps what the events say
  1  differs
  2  wrong usage, or a file that is no trace
  3  cannot be told: the kernel shows no page tables, events were lost, a VM has
     ended, ran before the trace began, or does not come to rest
\b
Examples:
  nvscope verify trace.arrows          # of nvscope record, begun before the VM
  nvscope verify --json trace.arrows
  nvscope verify --wait 1m trace.arrows
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("trace", type=click.Path(path_type=Path), shell_complete=complete.files(".arrows"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all ranges.")
@click.option(
    "--wait",
    "patience",
    metavar="TIME",
    default="10s",
    show_default=True,
    callback=parsed(seconds, "10s"),
    help="How long to wait for VMs to be at rest, and for a recorder that is behind.",
)
@click.option(
    "--debugfs",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=Path("/sys/kernel/debug"),
    show_default=True,
    help="Where debugfs is mounted.",
)
def verify(trace: Path, as_json: bool, patience: float, debugfs: Path) -> None:
    """Compare the page tables of running VMs with what a trace says is mapped.

    TRACE is being recorded on this host, or was until now. The kernel shows which nested IPAs each
    shadow stage 2 maps (to root; CONFIG_PTDUMP_STAGE2_DEBUGFS, as of Linux 7.3). The events of the
    trace say which it should map. Both are compared page by page, for each VM and shadow MMU. Where
    `nvscope validate` says that a mapping survived, the page table shows whether it is there.

    The kernel does not print where a nested IPA leads: canonical IPAs are not compared. While it
    prints a table, faults of that VM wait.
    """
    # Imported here: the help needs no pyarrow.
    from nvscope.analysis.interop.errors import said_in_a_line
    from nvscope.analysis.interop.pipes import is_pipe
    from nvscope.analysis.verify import look, text
    from nvscope.probes.commands.record.cli import BOOT_ID

    if is_pipe(trace):
        raise InputError(f"{trace}: verify reads it several times: a pipe will not do, a file will")
    boot_id = BOOT_ID.read_text().strip()
    with said_in_a_line():
        looker = look.Looker(debugfs, boot_id, patience, look.SETTLE_SECONDS)
        result = looker.look(trace)
    form = text.as_json if as_json else text.as_text
    click.echo(form(str(trace), result), nl=False)
    raise SystemExit(_EXIT[result.verdict])
