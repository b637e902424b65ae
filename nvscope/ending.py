"""How a command ends where it does not end well: a line on stderr, and an exit code that says why.

1 is what a command found: a violation, or a condition of --fail-if. Nothing that goes wrong in
nvscope itself may look like that.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator

import click

from nvscope.probes.errors import LackError, notice, shown

# sysexits.h: an internal error of the program.
EXIT_SOFTWARE = 70
# As shells say that a signal ended a program: 128 and its number.
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Whatever ends the block gets its line and its exit code."""
    _print_anything()
    try:
        yield
    except click.UsageError as error:
        if type(error).show is not click.UsageError.show:
            raise  # a group without a subcommand, which shows its help
        raise click.UsageError(shown(error.format_message()), error.ctx) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt:
        notice("interrupted")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _let_go_of_stdout()
        raise SystemExit(EXIT_NO_READER) from None
    except MemoryError:
        raise LackError("there is not enough memory") from None
    except Exception:  # noqa: BLE001
        _show_traceback()
        raise SystemExit(EXIT_SOFTWARE) from None


def _print_anything() -> None:
    """What the terminal's encoding has no characters for is no reason to end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _let_go_of_stdout() -> None:
    # What Python has not written yet would fail once more when it ends.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_traceback() -> None:
    for line in traceback.format_exc().splitlines():
        click.echo(shown(line), err=True)
    notice("this is a fault of nvscope's: please report it, with the lines above")
