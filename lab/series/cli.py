"""`nvscope lab series`: kernels of a patch series under the same checks."""

from __future__ import annotations

from pathlib import Path

import click

from nvscope.lab.commands.ending import errors, terminated_cleanly
from nvscope.lab.series.checks.checks import CHECKS
from nvscope.lab.series.execution.plan import joined, plan, plan_of
from nvscope.lab.setup.steps import console
from nvscope.lab.workloads.cases.cases import CASES
from nvscope.probes.errors import InputError

DEFAULT_FOLDER = Path("nvscope-series")

_EPILOG = """\b
A subject is
  lab, debug, stock, 6.18   as of `nvscope lab boot --kernel`
  TREE, TREE@COMMIT         a Linux source tree as it is, or at a commit
  FILE                      an arm64 kernel, Image or vmlinuz, as it is; or a source tarball
and behind it, each with its colon
  :patch=FILE :config=FILE  for kernels that are built: patches, settings; may be several
  :revmap=off               the kernel's nested reverse map is turned off
  :bug=NAME                 the lab's kernel makes a mistake on demand
\b
Exit codes:
  0  nothing is wrong with a SERIES subject
  1  something is: a mapping survived, counts are wrong, the kernel complained
  2  wrong usage, or a folder that has other results
  3  something could not be tried: a kernel that cannot be built or booted
  130  interrupted: --resume goes on
\b
Examples:
  nvscope lab series lab lab:revmap=off
  nvscope lab series --quick stock lab
  nvscope lab series ~/src/linux@v7.3 ~/src/linux@topic~1 ~/src/linux@topic
  nvscope lab series --only cases --only cost lab lab:patch=my.patch
  nvscope lab series lab lab:bug=lost-record
  nvscope lab series --resume
  nvscope lab series --resume stock lab v2.Image    # one more, behind those that are there
"""


@click.command(epilog=_EPILOG)
@click.argument("subjects", metavar="BASE SERIES...", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="folder of the results and the report",
)
@click.option(
    "--resume",
    is_flag=True,
    help="go on with what --out has; done steps stay, and subjects and checks may be added;"
    " what is not said again stays as it was",
)
@click.option("--quick", is_flag=True, help="less of each check: 10 minutes for two kernels")
@click.option(
    "--only",
    type=click.Choice(list(CHECKS)),
    multiple=True,
    metavar="CHECK",
    help=f"this check alone; repeatable: {', '.join(CHECKS)}",
)
@click.option(
    "--case",
    "cases",
    type=click.Choice(list(CASES)),
    multiple=True,
    metavar="NAME",
    help="of the cases this one alone; repeatable",
)
@click.option("--seeds", type=click.IntRange(1, 1000), metavar="N", help="of the random operations")
def series(
    subjects: tuple[str, ...],
    out: Path,
    resume: bool,
    quick: bool,
    only: tuple[str, ...],
    cases: tuple[str, ...],
    seeds: int | None,
) -> None:
    """Try kernels of a patch series, and compare them with BASE.

    Each kernel is made ready and booted in the lab, and runs the same checks: stories of what a
    reverse map can meet, random operations, failing allocations, races, KVM's selftests, a Linux
    in a Linux. Their traces go through the reference model, their counts are held against
    ftrace's. Another boot counts the instructions of unmaps and faults. Where the reverse map is
    another's, only what must hold on any kernel is compared.

    --out then has report.html, report.json, junit.xml and table.md. Each step's result is kept
    there at once: what was interrupted goes on by --resume.
    """
    # Imported here: the help needs no jinja2.
    from nvscope.lab.series.execution.run import Run
    from nvscope.lab.series.execution.store import Store
    from nvscope.lab.series.report.report import report
    from nvscope.lab.series.report.written import HTML, show, write

    store = Store(out)
    kept = store.asked() if resume and not subjects else None
    if kept and (only or cases or quick or seeds):
        raise click.UsageError("--resume without subjects takes all from what --out has")
    if resume and not subjects and not kept:
        raise InputError(f"{out} has nothing to go on with")
    chosen = plan_of(kept) if kept else plan(subjects, only, quick, seeds, cases)
    if resume and subjects and (before := store.asked()):
        sized = bool(cases or quick or seeds)
        chosen = joined(plan_of(before), chosen, checks=bool(only), sizes=sized)
    with errors(), terminated_cleanly(), store.open(chosen.asked(), resume=resume):
        run = Run(chosen, store)
        try:
            run.all()
        except KeyboardInterrupt:
            write(store, report(chosen, run.done))
            console.print(f"{out / HTML} has what is done: --resume goes on", markup=False)
            raise
        data = report(chosen, run.done)
        write(store, data)
    show(data)
    click.echo(out / HTML)
    raise SystemExit(data["exit_code"])
