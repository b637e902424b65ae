"""The one way in which nvscope tells a user that something is missing."""

from __future__ import annotations

import click


class LackError(click.ClickException):
    """The machine lacks something: one line on stderr (what, where, the remedy), exit code 3."""

    exit_code = 3
