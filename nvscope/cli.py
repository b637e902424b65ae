"""The `nvscope` command: a table of subcommands, each brought by its own wing."""

from __future__ import annotations

import importlib

import click

import nvscope

# Subcommand -> "module:attribute". Loaded on use, so that `nvscope export`
# imports nothing of the lab, and the help of one wing costs only that wing.
SUBCOMMANDS = {
    "convert": "nvscope.analysis.interop.cli:convert",
    "export": "nvscope.exporter.cli:export",
    "lab": "nvscope.lab.cli:lab",
    "record": "nvscope.probes.record:record",
    "report": "nvscope.analysis.report.cli:report",
    "validate": "nvscope.analysis.validate.cli:validate",
}


class _LazyGroup(click.Group):
    """A click group that imports a subcommand only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = SUBCOMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(nvscope.__version__, prog_name="nvscope")
def main() -> None:
    """See what nested virtualization costs a KVM/arm64 host.

    Exit codes: 0 ok, 1 violations found or a command failed, 2 wrong usage,
    3 the machine lacks something.
    """
