"""How commands end: each way has its exit code, and 1 is a verdict alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nvscope.cli import SUBCOMMANDS, main
from nvscope.probes.errors import InputError, LackError, shown

HOSTILE = "a\x1b[2J\n\udcff\u202e\tb"
SHOWN = "a�[2J �� b"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A subcommand that raises what `Raising.error` is."""

    class Raising:
        error: BaseException

    @click.command()
    def raising() -> None:
        raise Raising.error

    (tmp_path / "raises.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SUBCOMMANDS, "raising", "raises:command")
    module = __import__("raises")
    module.command = raising
    yield Raising
    del sys.modules["raises"]


def ended(command: type, error: BaseException) -> Result:
    command.error = error  # type: ignore[attr-defined]
    return CliRunner().invoke(main, ["raising"])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        EOFError(),
        RecursionError(),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        OSError(errno.EIO, "x"),
        AssertionError(),
        ModuleNotFoundError("No module named 'nvscope.x'", name="nvscope.x"),
    ],
    ids=repr,
)
def test_a_fault_of_ours_is_no_violation(error: Exception, command: type) -> None:
    done = ended(command, error)
    assert done.exit_code == 70
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert type(error).__name__ in done.stderr
    assert done.stderr.endswith("please report it, with the lines above\n")


def test_nothing_in_a_traceback_is_obeyed(command: type) -> None:
    said = ended(command, ValueError(HOSTILE)).stderr
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError(HOSTILE), 2, f"Error: {SHOWN}\n"),
        (LackError(HOSTILE), 3, f"Error: {SHOWN}\n"),
        (KeyboardInterrupt(), 130, "nvscope: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "x"), 141, ""),
        (MemoryError(), 3, "Error: there is not enough memory\n"),
    ],
    ids=["input", "lack", "ctrl-c", "pipe", "memory"],
)
def test_what_is_foreseen_is_a_line(
    error: BaseException, code: int, said: str, command: type
) -> None:
    done = ended(command, error)
    assert (done.exit_code, done.stderr, done.stdout) == (code, said, "")


def test_wrong_usage_shows_nothing_that_is_obeyed(command: type) -> None:
    done = ended(command, click.UsageError(HOSTILE))
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, f"Error: {SHOWN}")
    for words in (["report", "\x1b[2J", "\x1b[3J"], ["\x1b[2J"], ["--\x1b[2J"], ["man", "--\x1b"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        assert "\x1b" not in done.stderr


def test_a_group_alone_shows_its_help() -> None:
    done = CliRunner().invoke(main, ["lab"])
    assert (done.exit_code, "\nCommands:\n" in done.output) == (2, True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_no_encoding_has_are_printed(encoding: str, tmp_path: Path) -> None:
    """Of a file whose name is no UTF-8, and of one that Latin-1 has no characters for."""
    sample = Path("analysis/samples/revmap.arrows").read_bytes()
    for name in (b"a\xff.arrows", "ü→.arrows".encode()):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118
        Path(os.fsdecode(path)).write_bytes(sample)
        done = subprocess.run(
            [sys.executable, "-m", "nvscope", "validate", path],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b".arrows: pass\n" in done.stdout


def test_shown_is_one_line_whatever_it_gets() -> None:
    assert shown(HOSTILE) == SHOWN
    assert shown(Path("plain name.arrows")) == "plain name.arrows"
    every = "".join(map(chr, range(0x110000)))
    assert shown(every).isprintable()
    assert shown("") == ""
