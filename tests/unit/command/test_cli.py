"""The command without what only traces need: its help, and one line that says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import SUBCOMMANDS, main

OF_TRACES = ("jinja2", "numpy", "pyarrow")
OF_US = ("nvscope.analysis", "nvscope.probes.commands.record", "nvscope.probes.traces")


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were not installed, and nothing of ours had imported them yet."""
    modules = dict(sys.modules)
    for name, module in modules.items():
        if name.startswith(OF_US) or name.partition(".")[0] in OF_TRACES:
            package, _, last = name.rpartition(".")
            if hasattr(modules.get(package), last):
                # An import sets it, to another module than the one that comes back afterwards.
                monkeypatch.setattr(modules[package], last, module)
            monkeypatch.delitem(sys.modules, name)
    for name in OF_TRACES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_extras")
def test_the_help_needs_none_of_it() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for command in SUBCOMMANDS:
        assert f"  {command} " in done.output


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_nor_does_the_help_of_a_command(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Usage: ")


@pytest.mark.usefixtures("without_extras")
def test_a_command_that_cannot_be_imported_is_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_jinja.py").write_text("import jinja2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SUBCOMMANDS, "page", "needs_jinja:page")
    listed = CliRunner().invoke(main, ["--help"])
    assert (
        "  page        (not here: jinja2 is not installed: install nvscope[trace])" in listed.output
    )
    done = CliRunner().invoke(main, ["page", "--any", "thing"])
    assert done.exit_code == 3
    assert done.output == "Error: jinja2 is not installed: install nvscope[trace]\n"


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize(
    "words",
    [
        ["validate", "--jobs", "2", "a.arrows"],
        ["compare", "a.json", "b.json"],
        ["report", "a.arrows"],
        ["convert", "a.arrows", "b.json"],
    ],
    ids=" ".join,
)
def test_what_is_missing_is_said(words: list[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 3
    assert done.output.startswith("Error: ")
    assert "is not installed: install nvscope[trace]" in done.output
    assert len(done.output.splitlines()) == 1
