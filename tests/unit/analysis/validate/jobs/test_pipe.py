"""`nvscope validate -`: a trace that comes once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvscope.analysis.judging.findings import Result
from nvscope.analysis.validate.jobs import follow, pipe
from nvscope.analysis.validate.jobs.pipe import Piped
from nvscope.analysis.validate.jobs.run import validate
from nvscope.probes.traces.tracefile import TraceError
from tests.unit.analysis.fleet import LIVES, in_batches, mixed, told

BAD = in_batches(mixed(LIVES[-4:], [0, 1, 2, 3] * 20, {}))


def fed(data: bytes, path: Path) -> Iterator[Path]:
    """A named pipe out of which this comes."""
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb") as stream:
            stream.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    yield path
    thread.join()


def judged(data: bytes, tmp_path: Path) -> Result:
    for path in fed(data, tmp_path / "fifo"):
        result = follow.follow(path, None, lambda found: None)
    return result


def test_it_says_what_is_said_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "trace.arrows").write_bytes(BAD)
    alone = validate(tmp_path / "trace.arrows")
    assert any(finding.trace for finding in alone.findings)
    assert told(judged(BAD, tmp_path)) == told(alone)


def test_what_is_cut_short_is_said(tmp_path: Path) -> None:
    assert "the trace is not whole: it ends within a batch" in judged(BAD[:-100], tmp_path).unjudged


def test_what_is_too_much_to_keep_has_no_sub_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "MAX_KEPT_BYTES", len(BAD) // 2)
    result = judged(BAD, tmp_path)
    assert result.findings
    assert all((f.trace, f.note) == ([], follow.NOT_KEPT) for f in result.findings)


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", 0) as full:
        monkeypatch.setattr(pipe.tempfile, "TemporaryFile", lambda: full)
        result = judged(BAD, tmp_path)
    assert all((f.trace, f.note) == ([], follow.NOT_KEPT) for f in result.findings)


def test_what_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="fifo: this is a web page"):
        judged(b"<html>404</html>", tmp_path)


def test_what_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="fifo: "):
        judged(b"", tmp_path)


def test_after_ctrl_c_the_recorder_has_some_time_to_end_it() -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb") as stream, os.fdopen(into, "wb", buffering=0) as writer:
        piped = Piped(stream, grace_seconds=0.5)
        piped.stop()
        writer.write(b"the last rows")
        assert piped.read(13) == b"the last rows"
        assert not piped.is_cut
        assert piped.read(1) == b""
        assert piped.is_cut
        piped.close()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nvscope", "validate", *map(str, arguments)]


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "trace.arrows").write_bytes(BAD)
    of_file = subprocess.run(command(tmp_path / "trace.arrows"), capture_output=True, check=False)
    of_pipe = subprocess.run(command("-"), input=BAD, capture_output=True, check=False)
    assert of_pipe.stdout == of_file.stdout.replace(f"{tmp_path}/trace.arrows".encode(), b"-")
    assert (of_pipe.returncode, of_pipe.stderr) == (1, b"")


def test_following_standard_input_tells_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--follow", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(BAD[:-8])  # but for the mark of its end
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"nvscope: ")
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.stdin.write(BAD[-8:])
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"not whole" not in out
