"""What the commands that attach probes and then wait have in common."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator

import click

from nvscope.probes.counts.snapshot import Attachment

# Ctrl-C and what `kill` sends.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


def block(*others: signal.Signals) -> None:
    """Let the signals that end us, and others, wait until we ask: nothing is interrupted half-way.

    To be called before anything starts threads, as numpy does when it is imported: one that does
    not block them would take them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS | set(others))


def stopped(seconds: float) -> bool:
    """Wait so long at most; whether a signal came that is to end us."""
    return heard(seconds) is not None


def heard(seconds: float, *others: signal.Signals) -> signal.Signals | None:
    """Wait so long at most; the signal that came, one to end us or of the others."""
    came = signal.sigtimedwait(STOP_SIGNALS | set(others), max(0, seconds))
    return signal.Signals(came.si_signo) if came else None


@contextlib.contextmanager
def until_reader_goes() -> Iterator[None]:
    """Whoever reads our standard output may have had enough: that is an end like any other."""
    try:
        yield
    except BrokenPipeError:
        # What Python has not written yet would fail once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(attachments: Iterable[Attachment]) -> None:
    """Say on stderr what is not attached."""
    for a in attachments:
        if not a.mechanism:
            remedy = f" ({a.remedy})" if a.remedy else ""
            said = f"nvscope: not attached: {a.point} ({a.hook}): {a.problem}{remedy}"
            click.echo(said, err=True)
