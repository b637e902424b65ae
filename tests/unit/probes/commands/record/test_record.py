"""What `nvscope record` says to wrong usage."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.probes.commands.record.cli import RecordOptions, open_output, record
from nvscope.probes.commands.record.recorder import Limits
from nvscope.probes.errors import LackError


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """The command blocks those that end it, for the rest of its process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--duration", "soon", "x"], "'soon'; for example 30s"),
        (["--duration", "0", "x"], "'0'; for example 30s"),
        (["--rotate-size", "-1", "x"], "'-1'; for example 100M"),
        (["--count", "0", "x"], "--count"),
        (["--buffer", "3", "x"], "--buffer"),
        (["--rotate-size", "1M", "-"], "cannot be rotated"),
        ([], "FILE"),
    ],
)
def test_wrong_usage(options: list[str], words: str) -> None:
    done = CliRunner().invoke(record, options)
    assert done.exit_code == 2
    assert words in done.output


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    for name, options in (("a", []), ("b-00001", ["--rotate-time", "1m"])):
        (tmp_path / name).write_text("precious")
        done = CliRunner().invoke(record, [*options, str(tmp_path / name[0])])
        assert done.exit_code == 2
        assert "exists: choose another name, or --force" in done.output
        assert (tmp_path / name).read_text() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(record, [str(tmp_path / "no" / "x")])
    assert done.exit_code == 3
    assert "cannot write" in done.output


def test_traces_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Addresses of the kernel are in them; also over a file that was open to all."""
    (tmp_path / "old").touch(mode=0o644)
    before = os.umask(0)
    try:
        for name, force in (("new", False), ("old", True)):
            output = tmp_path / name
            wanted = RecordOptions(output, force, None, Limits(), (), {}, False, 0)
            open_output(wanted, 1).close()
            assert output.stat().st_mode & 0o777 == 0o600
        open_output(
            RecordOptions(Path(os.devnull), True, None, Limits(), (), {}, False, 0), 1
        ).close()
    finally:
        os.umask(before)
    assert Path(os.devnull).stat().st_mode & 0o777 == 0o666


def test_a_later_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a-00002").write_text("precious")
    limits = Limits(file_bytes=1)
    careful, forced = (
        RecordOptions(tmp_path / "a", force, None, limits, (), {}, False, 0)
        for force in (False, True)
    )
    open_output(careful, 1).close()
    with pytest.raises(LackError, match="a-00002: File exists"):
        open_output(careful, 2)
    assert (tmp_path / "a-00002").read_text() == "precious"
    open_output(forced, 2).close()
    assert (tmp_path / "a-00002").read_text() == ""
