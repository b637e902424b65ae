"""The `nvscope` command: a table of subcommands, each brought by its own subpackage."""

from __future__ import annotations

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

import nvscope
from nvscope import ending
from nvscope.probes.errors import LackError

# Subcommand -> "module:attribute". Loaded on use, so that `nvscope export`
# imports nothing of the lab, and the help of one subpackage costs only that subpackage.
SUBCOMMANDS = {
    "compare": "nvscope.analysis.compare.cli:compare",
    "completion": "nvscope.completion:completion",
    "convert": "nvscope.analysis.interop.cli:convert",
    "doctor": "nvscope.probes.commands.doctor.cli:doctor",
    "export": "nvscope.exporter.cli:export",
    "lab": "nvscope.lab.commands.cli:lab",
    "load": "nvscope.probes.pins.cli:load",
    "man": "nvscope.man:man",
    "probe": "nvscope.probes.commands.probe.cli:probe",
    "record": "nvscope.probes.commands.record.cli:record",
    "report": "nvscope.analysis.report.cli:report",
    "storm": "nvscope.probes.commands.storm.cli:command",
    "top": "nvscope.probes.commands.top.cli:top",
    "unload": "nvscope.probes.pins.cli:unload",
    "validate": "nvscope.analysis.validate.cli:validate",
    "verify": "nvscope.analysis.verify.cli:verify",
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
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            return _unusable(cmd_name, error)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without the commands' short helps: no subpackage is imported for a Tab."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, of what comes before the subcommand."""
        with ending.said():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand, which may import what it needs only now."""
        with ending.said():
            try:
                return super().invoke(ctx)
            except ModuleNotFoundError as error:
                raise LackError(_remedy(error)) from None


class UnusableCommand(click.Command):
    """Stands for a command that cannot even be imported: it has a line in the help."""


def _unusable(name: str, error: ModuleNotFoundError) -> click.Command:
    remedy = _remedy(error)

    @click.command(
        name,
        cls=UnusableCommand,
        help=f"(not here: {remedy})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def unusable(words: tuple[str, ...]) -> None:
        raise LackError(remedy)

    return unusable


def _remedy(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    if missing in ("", "nvscope"):
        raise error  # ours to mend, not the user's
    return f"{missing} is not installed: install nvscope[trace]"


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(nvscope.__version__, prog_name="nvscope")
def main() -> None:
    """See what nested virtualization costs a KVM/arm64 host.

    Exit codes: 0 ok, 1 violations found or a command failed, 2 wrong usage or a file that will not
    do, 3 the machine lacks something, 70 a fault of nvscope's own, 130 interrupted, 141 nobody
    reads the output any more.
    """
