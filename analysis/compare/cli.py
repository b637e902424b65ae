"""`nvscope compare`: what differs between two runs of a probe, and whether that is beyond doubt."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nvscope.analysis.compare.conditions import Condition, parse
from nvscope.probes.commands import complete
from nvscope.probes.commands.finite import Finite
from nvscope.probes.errors import notice

EXIT_FAILED = 1
_FILE = click.Path(path_type=Path)
# Fewer resamples than this beyond an interval's ends, and chance moves these.
_LEAST_BEYOND = 5

_EPILOG = """\b
A condition of --fail-if is [LABEL=VALUE,...:] METRIC >|< BOUND
  METRIC  count, rate, mean, p50, p90, p99, p99.9, lost
  BOUND   1.1x    of the ratio B / A
          50us    of B (ns, us, ms, s; of a rate 50/s; of a count 50)
          +10us   of the difference B - A, or -10us

It is about each group that is shown and that has these labels.

\b
Examples:
  nvscope compare before.json after.json
  nvscope compare before.json after.json --fail-if 'p99 > 1.1x'
  nvscope compare before.json after.json --fail-if 'vm=alpha: mean > +10us' --by-estimate
  nvscope compare before.json after.json --merge --json
"""


def _conditions(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[Condition]:
    found = []
    for text in texts:
        try:
            found.append(parse(text))
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
    return found


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("a", metavar="A", type=_FILE, shell_complete=complete.files(".json"))
@click.argument("b", metavar="B", type=_FILE, shell_complete=complete.files(".json"))
@click.option(
    "--fail-if",
    "conditions",
    metavar="CONDITION",
    multiple=True,
    callback=_conditions,
    help="End with exit code 1 where it is so beyond doubt: for all of its interval. Repeatable.",
)
@click.option(
    "--by-estimate", is_flag=True, help="End with 1 also where only the estimate says so."
)
@click.option("--merge", is_flag=True, help="Compare the totals only.")
@click.option(
    "--confidence",
    metavar="PERCENT",
    type=Finite(50, 99.9),
    default=95,
    show_default=True,
    help="Of the intervals.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100, 100_000),
    default=4000,
    show_default=True,
    help="How often each histogram is resampled.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the resamples: the same seed gives the same intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(
    a: Path,
    b: Path,
    conditions: list[Condition],
    by_estimate: bool,
    merge: bool,
    confidence: float,
    resamples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare two runs of a probe: B against A.

    A and B are what `nvscope probe NAME --json` wrote: of two kernels, say, or of two settings.
    Shown are the groups that both have, by their labels, and the total: counts, rates, means and
    percentiles, their differences and ratios, each with an interval.

    An interval says where the value of other such runs would be. It allows for chance, calls
    being independent of each other, and for what a log2 histogram does not tell: a percentile is
    known to a factor of two at best. So a ratio of percentiles is beyond doubt from two or four
    on; one of means, as soon as chance allows it. "∞" is no bound: there were too few calls.

    Exit codes: 0 ok, 1 a condition of --fail-if is met, 2 a file cannot be read or compared.
    """
    share = confidence / 100
    if resamples * (1 - share) / 2 < _LEAST_BEYOND:
        needed = round(2 * _LEAST_BEYOND / (1 - share))
        raise click.UsageError(f"--confidence {confidence:g} needs --resamples {needed} at least")
    # Imported here: the help needs no numpy.
    from nvscope.analysis.compare.compared import compare_runs
    from nvscope.analysis.compare.metrics import Plan
    from nvscope.analysis.compare.runs import read

    plan = Plan(share, resamples, seed)
    found = compare_runs(read(a), read(b), plan, conditions, merge=merge, by_estimate=by_estimate)
    for caveat in found.caveats:
        notice(caveat)
    if as_json:
        from nvscope.analysis.compare.asjson import as_dict

        click.echo(json.dumps(as_dict(found)))
    else:
        from rich.console import Console

        from nvscope.analysis.compare.text import show

        show(found, Console())
    raise SystemExit(EXIT_FAILED if found.failed else 0)
