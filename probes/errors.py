"""The ways in which nvscope tells a user that something is missing or will not do."""

from __future__ import annotations

import click


class LackError(click.ClickException):
    """The machine lacks something: one line on stderr (what, where, the remedy), exit code 3."""

    exit_code = 3


class InputError(click.ClickException):
    """A file is not what it should be, or cannot be written: one line on stderr, exit code 2."""

    exit_code = 2
