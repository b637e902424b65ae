"""Tries made-up input for a time: `.venv/bin/python -m tests.fuzz --seconds 900 [NAME…]`.

A target is a module beside this one: EXAMPLES, a strategy, and attempt(), which raises where what
comes of one is neither a result nor one line. One that takes long, or much memory, is a fault too.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from hypothesis import HealthCheck, given, settings

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("[a-z]*.py")))
# Of CPU time, which other load cannot change; and of patience, for what waits.
MOST_SECONDS, MOST_WAIT_SECONDS = 2.0, 10.0
MOST_BYTES = 512 << 20
# Examples of a round. After each it is looked whether time is up, and hypothesis begins anew.
ROUND = 500
# The first ones import and compile what they need.
WARM_EXAMPLES = 20


class SlowError(Exception):
    """An example took too long, or too much memory."""


@dataclass
class Run:
    """Of one target, so far."""

    target: Any
    examples: int = 0
    slowest_seconds: float = 0.0
    base_bytes: int = field(default=0)

    def attempt(self, example: object) -> None:
        before, began = time.process_time(), time.monotonic()
        self.target.attempt(example)
        took, waited = time.process_time() - before, time.monotonic() - began
        self.examples += 1
        if self.examples == WARM_EXAMPLES:
            self.base_bytes = _peak_bytes()
        if self.examples > WARM_EXAMPLES:
            self.slowest_seconds = max(self.slowest_seconds, took)
            self._judge(took, waited, _peak_bytes() - self.base_bytes)

    def _judge(self, took: float, waited: float, grown: int) -> None:
        if took > MOST_SECONDS or waited > MOST_WAIT_SECONDS:
            raise SlowError(f"{took:.1f} s of CPU time, {waited:.1f} s in all")
        if grown > MOST_BYTES:
            raise SlowError(f"{grown >> 20} MiB more than at first")

    def __str__(self) -> str:
        grown = (_peak_bytes() - self.base_bytes) >> 20
        slowest = f"the slowest {self.slowest_seconds:.2f} s of CPU"
        return f"{self.examples} examples, {slowest}, {grown} MiB more"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # KiB: getrusage(2)


def fuzz(name: str, seconds: float, most_examples: int | None = None) -> Run:
    """Try a target until time is up; raises what a bad example raises, with the example."""
    run = Run(importlib.import_module(f"tests.fuzz.{name}"))

    @settings(
        max_examples=most_examples or ROUND,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(run.target.EXAMPLES)
    def attempts(example: object) -> None:
        if time.monotonic() < until:
            run.attempt(example)

    until = time.monotonic() + seconds
    said = time.monotonic()
    while time.monotonic() < until:
        attempts()
        if most_examples:
            break
        if time.monotonic() - said > 60:
            said = time.monotonic()
            click.echo(f"{name}: {run}", err=True)
    return run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds", type=click.IntRange(1), default=900, show_default=True, help="For each target."
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
def main(seconds: int, names: tuple[str, ...]) -> None:
    """Try targets, all of them by default, one after the other."""
    for name in names or NAMES:
        click.echo(f"{name}: {fuzz(name, seconds)}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
