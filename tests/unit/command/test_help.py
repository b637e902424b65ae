"""Each command's help: it has examples, which are right, and what is wrong is said in a line."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.probes.commands import points_option as points
from nvscope.probes.config import options
from tests.unit.analysis.compare.runs import durations, write
from tests.unit.analysis.interop.recorded import events, ftrace
from tests.unit.command.examples import ALL, EXAMPLES, LEAVES, parse, words_of

SAMPLES = Path(__file__).resolve().parents[3] / "analysis/samples"
LINES = sorted((path, line) for path, lines in EXAMPLES.items() for line in lines)
# Commands whose examples run anywhere, and the exit codes that these may have.
RUNNABLE = {
    "nvscope compare": {0, 1},
    "nvscope completion": {0},
    "nvscope convert": {0},
    "nvscope man": {0},
    "nvscope report": {0},
    "nvscope validate": {0, 3},
}
# Examples that do not: what the machine must have, or be.
NOT_HERE = {
    "nvscope convert --recipe ftrace > record.sh": "reads an arm64 kernel's types",
    "nvscope convert nv.ftrace host.arrows": "reads what ftrace recorded",
    "nvscope validate --follow trace.arrows": "waits for a recorder",
    "nvscope validate --scheduler tcp://10.0.0.1:8786 /shared/fleet": "needs a cluster",
}


def command_of(line: str) -> str:
    """Without the comment."""
    return line.partition("  #")[0].strip()


@pytest.mark.parametrize("path", LEAVES)
def test_has_examples_of_itself(path: str) -> None:
    assert EXAMPLES[path]
    for line in EXAMPLES[path]:
        words = words_of(line.partition("#")[0])
        assert ["nvscope", *words][: len(path.split())] == path.split(), line


@pytest.mark.parametrize(("path", "line"), LINES)
def test_an_example_can_be_parsed(
    path: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for parameter in LEAVES[path].command.params:
        if isinstance(parameter.type, click.Path):  # its files need not be here
            monkeypatch.setattr(parameter.type, "exists", False)
    monkeypatch.setattr(options, "values", lambda *_: {})  # nor its configuration
    monkeypatch.setattr(points, "read", lambda _: None)  # nor names of functions
    with parse(words_of(line)) as context:
        assert context.command is LEAVES[path].command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the examples speak of."""
    for name in ("trace.arrows", "host.arrows"):
        shutil.copy(SAMPLES / "revmap.arrows", tmp_path / name)
    trace = (SAMPLES / "revmap.arrows").read_bytes()
    (tmp_path / "trace.arrows.gz").write_bytes(gzip.compress(trace))
    (tmp_path / "nv.ftrace.gz").write_bytes(gzip.compress(ftrace(events()).encode()))
    for name in ("before.json", "after.json"):
        write(tmp_path / name, {"alpha": durations([1e5] * 500)})
    return tmp_path


@pytest.mark.parametrize(
    ("path", "line"),
    [each for each in LINES if each[0] in RUNNABLE and command_of(each[1]) not in NOT_HERE],
)
def test_an_example_runs(path: str, line: str, folder: Path) -> None:
    # Folders of the system's, or of its user's, are folders in here.
    here = re.sub(r"(?<= )(?:~|/usr|/opt|/var)/", f"{folder}/", command_of(line))
    for each in re.findall(rf"{re.escape(str(folder))}/\S+", here):
        Path(each).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["/bin/sh", "-c", here],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in RUNNABLE[path], done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_run_here_is_an_example() -> None:
    assert set(NOT_HERE) <= {command_of(line) for _, line in LINES}


@pytest.mark.parametrize("path", ALL)
def test_its_help_has_two_names(path: str) -> None:
    words = path.split()[1:]
    done = CliRunner().invoke(main, [*words, "--help"], prog_name="nvscope")
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: {path} ")
    short = CliRunner().invoke(main, [*words, "-h"], prog_name="nvscope")
    assert short.output == done.output


@pytest.mark.parametrize("path", ALL)
def test_an_unknown_option_is_wrong_usage(path: str) -> None:
    if LEAVES.get(path) and LEAVES[path].command.context_settings.get("ignore_unknown_options"):
        pytest.skip("it takes another command's options")
    done = CliRunner().invoke(main, [*path.split()[1:], "--no-such-option"], prog_name="nvscope")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.fullmatch("Error: No such option.*--no-such-option.*", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


WITH_ARGUMENTS = sorted(
    path
    for path, context in LEAVES.items()
    if any(isinstance(each, click.Argument) and each.required for each in context.command.params)
)


@pytest.mark.parametrize("path", WITH_ARGUMENTS)
def test_a_missing_argument_is_wrong_usage(path: str) -> None:
    done = CliRunner().invoke(main, path.split()[1:], prog_name="nvscope")
    assert done.exit_code == 2
    assert re.search("^Error: Missing argument '", done.stderr, re.MULTILINE)


def test_an_unknown_command_is_wrong_usage() -> None:
    for words in (["nonesuch"], ["lab", "nonesuch"]):
        done = CliRunner().invoke(main, words, prog_name="nvscope")
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1] == "Error: No such command 'nonesuch'."


def test_the_help_of_all() -> None:
    """Word by word, but for the commands: each has a line, in order, with the start of its help."""
    done = CliRunner().invoke(main, ["--help"], prog_name="nvscope")
    head, _, commands = done.output.partition("\nCommands:\n")
    assert head == GOLDEN
    lines = commands.splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        path.split()[1] for path in ALL if path.count(" ") == 1
    )
    assert all(re.match(r"  [a-z-]+ +[A-Z].*\.$", line) for line in lines)


GOLDEN = """\
Usage: nvscope [OPTIONS] COMMAND [ARGS]...

  See what nested virtualization costs a KVM/arm64 host.

  Exit codes: 0 ok, 1 violations found or a command failed, 2 wrong usage or a
  file that will not do, 3 the machine lacks something, 70 a fault of nvscope's
  own, 130 interrupted, 141 nobody reads the output any more.

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.
"""
