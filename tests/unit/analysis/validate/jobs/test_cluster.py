"""`nvscope validate --scheduler`, on a real cluster of two processes; and what can be amiss."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from click.testing import CliRunner, Result
from distributed import LocalCluster

import nvscope
from nvscope.analysis.validate.cli import validate
from nvscope.analysis.validate.jobs import cluster
from nvscope.probes.errors import LackError
from tests.unit.analysis.fleet import LIVES, in_batches, mixed, partition

# No dashboard; there is an HTTP server all the same.
LOOPBACK: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Its address. Workers are processes; nothing is reached but by loopback."""
    # A task whose worker dies is not tried again.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, **LOOPBACK) as started,
    ):
        yield started.scheduler_address


@pytest.fixture
def empty() -> Iterator[str]:
    """A scheduler without workers."""
    with LocalCluster(n_workers=0, **LOOPBACK) as started:
        yield started.scheduler_address


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A data set of two traces: one with violations and losses, one that is right."""
    for name, rows in (
        ("bad", mixed(LIVES[-3:], [0, 1, 2] * 30, {40: 3})),
        ("good", mixed(LIVES[:2], [0, 1] * 30, {})),
    ):
        (tmp_path / f"{name}.arrows").write_bytes(in_batches(rows))
        partition(tmp_path / f"{name}.arrows", tmp_path / "fleet")
    return tmp_path / "fleet"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(validate, [str(each) for each in arguments])


def lacks(result: Result, words: str) -> None:
    """One line, no traceback, exit code 3."""
    assert result.exit_code == 3
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_the_verdicts_are_the_same(scheduler: str, fleet: Path) -> None:
    for form in ("text", "json"):
        alone = run("-j1", "--format", form, fleet)
        spread = run("--scheduler", scheduler, "--format", form, fleet)
        assert (spread.stdout, spread.stderr, spread.exit_code) == (alone.stdout, "", 1)


def test_paths_are_those_of_here(
    scheduler: str, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are in folders of their own."""
    monkeypatch.chdir(fleet.parent)
    ran = run("--scheduler", scheduler, "fleet/boot=unknown/trace=good")
    assert (ran.stderr, ran.exit_code) == ("", 0)


def test_what_workers_cannot_read(
    scheduler: str, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path leads elsewhere there, as one of another machine's disk does."""
    monkeypatch.chdir(fleet.parent)
    lacks(run("--scheduler", scheduler, "/proc/self/cwd/fleet"), "cannot read the data set")


def test_workers_of_another_version_are_told_of(
    scheduler: str, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = nvscope.__version__
    monkeypatch.setattr(nvscope, "__version__", "9.9")
    ran = run("--scheduler", scheduler, fleet / "boot=unknown/trace=good")
    assert ran.exit_code == 0
    lines = ran.stderr.splitlines()
    assert len(lines) == 2
    assert all(f"has nvscope {here}, this is 9.9: its verdicts may differ" in x for x in lines)


def test_a_damaged_share_is_one_line(scheduler: str, fleet: Path) -> None:
    """Only a worker comes across it; the other trace is judged."""
    (share,) = [*(fleet / "boot=unknown/trace=good").glob("share=0x*/0.parquet")][:1]
    data = bytearray(share.read_bytes())
    data[200:1200] = bytes(1000)
    share.write_bytes(data)
    ran = run("--scheduler", scheduler, fleet)
    assert ran.stderr.count("\n") == 1
    assert f"{share}: it is damaged" in ran.stderr
    assert "trace=bad: violation" in ran.stdout
    assert ran.exit_code == 1


def test_a_worker_that_is_killed_is_no_verdict(scheduler: str) -> None:
    with cluster.connected(scheduler) as workers:
        with pytest.raises(LackError, match="workers were killed while they judged"):
            list(workers.run(os._exit, [(1,)]))
        assert list(workers.run(abs, [(-2,)])) == [(0, 2)]


def test_an_empty_cluster(empty: str, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.5)
    lacks(run("--scheduler", empty, fleet), "has no workers: start some with `dask worker tcp://")


def test_no_scheduler(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        lacks(run("--scheduler", address, fleet), f"no scheduler answers at {address}")


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400\r\n\r\n", bytes(99)],
    ids=["nothing", "ssh", "http", "zeros"],
)
def test_other_servers(answer: bytes, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, and such as say something else."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = other.accept()
            connection.sendall(answer)
            accepted.append(connection)

    accepted: list[socket.socket] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        lacks(run("--scheduler", address, fleet), f"no scheduler answers at {address}")
        thread.join()
    for connection in accepted:
        connection.close()


def test_without_dask(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    lacks(run("--scheduler", "tcp://127.0.0.1:1", fleet), "dask is not installed: install nvscope[")


class _Fake:
    """A client whose workers answer so."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def wait_for_workers(self, count: int, timeout: float) -> None:
        pass

    def run(self, *_: object, on_error: str) -> dict[str, object]:
        return {"tcp://w:1": self._answer}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            ModuleNotFoundError("No module", name="nvscope.analysis"),
            "tcp://w:1 has no nvscope",
        ),
        (ModuleNotFoundError("No module", name="pyarrow"), "tcp://w:1 has no pyarrow: install"),
        (ValueError("a\nb"), "tcp://w:1 does not work: a b"),
    ],
)
def test_workers_that_lack_something(answer: object, words: str) -> None:
    with pytest.raises(LackError, match=words):
        cluster.Cluster(_Fake(answer), "tcp://s:1").require(Path(), lambda what: None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheduler", "foo::", "."], "'foo::' is no scheduler's address"),
        (["--scheduler", "http://127.0.0.1:1", "."], "is no scheduler's address"),
        (["--scheduler", "tcp://127.0.0.1:1", "-j2", "."], "goes without --jobs"),
        (["--scheduler", "tcp://127.0.0.1:1", __file__], "takes data sets, which"),
        (["--scheduler", "tcp://127.0.0.1:1", "-"], "can be read once, by one process"),
        (["--scheduler", "tcp://127.0.0.1:1", "--follow", "."], "--follow takes one FILE"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert words in ran.stderr


def test_what_a_scheduler_may_do_is_said() -> None:
    said = " ".join(CliRunner().invoke(validate, ["--help"]).output.split())
    assert "what they send is unpickled here, and can run anything" in said
