"""What it takes to start, in instructions: `.venv/bin/python -m bench.startup`.

In the lab's host, where one instruction is one virtual nanosecond: the CPU time of the process from
its start to the first line that says it is done, and of its end; what it waits for is not in that.
Of two starts the second, for the first one's has the reading of files from disk in it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

TIMEOUT_SECONDS = 100_000.0  # of the host's, whose clock runs ahead while nothing does
VERSION, LOAD = "nvscope --version", "nvscope load"
EXPORT, PINNED = "nvscope export", "nvscope export --pinned"


def cpu_ns(command: list[str]) -> int:
    """Start it, wait for a line, end it; its CPU time. In the lab's host."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def measured() -> Iterator[tuple[str, int]]:
    """Each command, and what it takes."""
    from nvscope.lab import assets
    from nvscope.lab.setup.steps import step

    with assets.prepare().boot(cpus=1, icount=True) as host:
        with step("host that counts instructions boots"):
            host.wait_ready(TIMEOUT_SECONDS)

        def measure(command: str, after: str) -> tuple[str, int]:
            each = f"python3 /mnt/src/bench/{Path(__file__).name} {command}; {after}"
            with step(command):
                said = host.run(f"{each}; {each}", timeout=TIMEOUT_SECONDS).stdout
            return command, int(said.split()[-1])

        yield measure(VERSION, "true")
        yield measure(EXPORT, "true")
        yield measure(LOAD, "nvscope unload > /dev/null")
        host.run(LOAD, timeout=TIMEOUT_SECONDS)
        yield measure(PINNED, "true")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("in_host", metavar="", nargs=-1, type=click.UNPROCESSED)
def main(in_host: tuple[str, ...]) -> None:
    """Print a table. (In the lab's host, with a command: what that one takes.)"""
    if in_host:
        click.echo(cpu_ns(list(in_host)))
        return
    click.echo("| start of | instructions |\n| --- | ---: |")
    for command, count in measured():
        click.echo(f"| `{command}` | {count:,} |")


if __name__ == "__main__":
    main()
