"""What it takes to start, in instructions: `.venv/bin/python -m bench.startup`.

In the lab's host, where one instruction is one virtual nanosecond: all of the guest's CPU, from the
shell's exec to the first line that says it is done. The second time, for what the first one reads
from disk does not belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from nvscope.lab import assets
from nvscope.lab.setup.steps import step
from nvscope.lab.vm import Lab

TIMEOUT_SECONDS = 1800.0


class Start(NamedTuple):
    """command: says a line when it is done, and may go on; after: what ends it and its effects."""

    command: str
    after: str = "true"


STARTS = (
    Start("nvscope --version"),
    Start("nvscope load", "nvscope unload"),
    Start("nvscope export"),
)
PINNED = Start("nvscope export --pinned")

_MEASURE = """
exec 3< <(date +%s%N; exec {command})
read -r begun <&3
read -r line <&3
ended=$(date +%s%N)
kill $! 2> /dev/null
wait $!
{after} > /dev/null
echo $((ended - begun))
"""


def instructions(host: Lab, start: Start) -> int:
    """Of the second of two starts."""
    command = _MEASURE.format(command=start.command, after=start.after)
    return [int(host.run(command, timeout=TIMEOUT_SECONDS).stdout) for _ in range(2)][-1]


def measured() -> Iterator[tuple[str, int]]:
    """Each command, and what it takes."""
    with assets.prepare().boot(cpus=1, icount=True) as host:
        with step("host that counts instructions boots"):
            host.wait_ready(TIMEOUT_SECONDS)
        for start in STARTS:
            with step(start.command):
                yield start.command, instructions(host, start)
        with step(PINNED.command):
            host.run("nvscope load", timeout=TIMEOUT_SECONDS)
            yield PINNED.command, instructions(host, PINNED)


@click.command()
def main() -> None:
    """Print a table."""
    click.echo("| start of | instructions |\n| --- | ---: |")
    for command, count in measured():
        click.echo(f"| `{command}` | {count:,} |")


if __name__ == "__main__":
    main()
