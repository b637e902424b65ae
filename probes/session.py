"""What the commands that attach probes and then wait have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterable

import click

from nvscope.probes.snapshot import Attachment

# Ctrl-C and what `kill` sends.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


def block() -> None:
    """Let the signals that end us wait until `stopped` asks: nothing is interrupted half-way.

    To be called before anything starts threads, as numpy does when it is imported: one that does
    not block them would take them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def stopped(seconds: float) -> bool:
    """Wait so long at most; whether a signal came that is to end us."""
    return signal.sigtimedwait(STOP_SIGNALS, max(0, seconds)) is not None


def report(attachments: Iterable[Attachment]) -> None:
    """Say on stderr what is not attached."""
    for a in attachments:
        if not a.mechanism:
            click.echo(f"nvscope: not attached: {a.point} ({a.hook}): {a.problem}", err=True)
