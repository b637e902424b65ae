"""How the lab's commands end: on a guest's failure, on Ctrl-C, on SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from nvscope.lab.host.remote import GuestError
from nvscope.lab.setup.steps import console


class GuestFailed(click.ClickException):
    """The guest crashed, hung or could not be reached."""

    exit_code = 1


@contextmanager
def errors() -> Iterator[None]:
    """A guest's failure is a message, with the console's tail, and exit code 1."""
    try:
        yield
    except GuestError as error:
        raise GuestFailed(str(error)) from None
    except KeyboardInterrupt:
        console.print("ended by Ctrl-C")
        raise SystemExit(130) from None


@contextmanager
def terminated_cleanly() -> Iterator[None]:
    """SIGTERM ends us like Ctrl-C does, so that the guest goes too."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
