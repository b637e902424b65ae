"""Pipes as what is read and what is written: each way of naming one gives what the file gives."""

from __future__ import annotations

import gzip
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.analysis.interop import pipes
from nvscope.analysis.interop.cli import convert
from nvscope.analysis.validate.cli import validate
from tests.unit.analysis.interop.recorded import HEADER, ftrace, perf
from tests.unit.analysis.interop.recorded import events as lines

TEXTS = {"ftrace": HEADER + ftrace(lines()), "perf": HEADER + perf(lines())}


@pytest.fixture(params=["ftrace", "perf", "trace", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each format, by a name that says nothing."""
    path = tmp_path / "source"
    if request.param in TEXTS:
        path.write_text(TEXTS[request.param])
        return path
    (tmp_path / "text").write_text(TEXTS["ftrace"])
    made = run(["--to", request.param, str(tmp_path / "text"), str(path)])
    assert made.returncode == 0
    return path


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "nvscope", "convert", *arguments],
        capture_output="stdout" not in options,
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


@contextmanager
def fed(data: bytes, path: Path) -> Iterator[Path]:
    """A named pipe out of which this comes."""
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(data))
    writer.start()
    yield path
    writer.join(10)
    assert not writer.is_alive()


@pytest.fixture
def expected(source: Path, tmp_path: Path) -> bytes:
    made = CliRunner().invoke(convert, [str(source), str(tmp_path / "expected")])
    assert made.exit_code == 0, made.output
    return (tmp_path / "expected").read_bytes()


def test_a_named_pipe(source: Path, expected: bytes, tmp_path: Path) -> None:
    with fed(source.read_bytes(), tmp_path / "fifo") as path:
        made = CliRunner().invoke(convert, [str(path), str(tmp_path / "out")])
    assert (made.exit_code, made.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == expected


def test_a_process_substitution(source: Path, expected: bytes, tmp_path: Path) -> None:
    (tmp_path / "source.gz").write_bytes(gzip.compress(source.read_bytes()))
    script = f'"{sys.executable}" -m nvscope convert <(zcat source.gz) out'
    made = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (made.returncode, made.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == expected


def test_standard_input(source: Path, expected: bytes, tmp_path: Path) -> None:
    made = CliRunner().invoke(convert, ["-", str(tmp_path / "out")], input=source.read_bytes())
    assert (made.exit_code, made.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == expected
    assert not Path("-").exists()


@pytest.mark.parametrize("to", ["trace", "parquet", "perfetto"])
def test_standard_output(to: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(TEXTS["ftrace"])
    of_file = run(["--to", to, str(tmp_path / "in.txt"), str(tmp_path / "out")])
    assert of_file.returncode == 0
    of_pipe = run(["--to", to, str(tmp_path / "in.txt"), "-"])
    assert (of_pipe.returncode, of_pipe.stderr) == (0, b"-: 23 rows\n")
    assert of_pipe.stdout == (tmp_path / "out").read_bytes()


def test_nothing_is_written_where_nothing_can_be_read() -> None:
    made = run(["-", "-"], input=b"what is this\n")
    assert (made.returncode, made.stdout) == (2, b"")
    assert made.stderr.startswith(b"Error: -: ")
    assert made.stderr.count(b"\n") == 1


def test_a_terminal_is_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(TEXTS["ftrace"])
    main, terminal = pty.openpty()
    with os.fdopen(main), os.fdopen(terminal) as end:
        made = run([str(tmp_path / "in.txt"), "-"], stdout=end, stderr=subprocess.PIPE)
        assert made.returncode == 2
        assert b"standard output is a terminal" in made.stderr
        made = run(["-", str(tmp_path / "out")], stdin=end)
        assert made.returncode == 2
        assert b"standard input is a terminal" in made.stderr


def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(TEXTS["ftrace"])
    with Path("/dev/full").open("wb") as full:
        made = run([str(tmp_path / "in.txt"), "-"], stdout=full, stderr=subprocess.PIPE)
    assert made.returncode == 2
    assert made.stderr == b"Error: cannot write standard output: No space left on device\n"


def test_no_room_for_what_comes_out_of_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipes.shutil, "copyfileobj", full)
    made = CliRunner().invoke(convert, ["-", str(tmp_path / "out")], input=b"x\n")
    assert made.exit_code == 3
    assert "cannot keep what comes from - in /" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_from_standard_input(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        convert, ["--partition", "-", str(tmp_path / "fleet")], input=TEXTS["perf"].encode()
    )
    assert made.exit_code == 0
    assert (tmp_path / "fleet/boot=b007/trace=stdin").is_dir()
    refused = CliRunner().invoke(convert, ["--partition", str(tmp_path / "x"), "-"])
    assert refused.exit_code == 2
    assert "--partition writes into a folder" in refused.stderr


def test_validate_judges_what_comes_out_of_a_pipe(source: Path, tmp_path: Path) -> None:
    of_file = CliRunner().invoke(validate, [str(source)])
    with fed(source.read_bytes(), tmp_path / "fifo") as path:
        of_pipe = CliRunner().invoke(validate, [str(path)])
    assert of_pipe.stdout == of_file.stdout.replace(str(source), str(path))
    assert of_pipe.exit_code == 0
