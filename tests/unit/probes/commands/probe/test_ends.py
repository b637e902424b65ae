"""How probe and top end where nobody types: signals, a time limit, a reader that goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.probes.commands import session
from nvscope.probes.commands.probe import run
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked
from nvscope.probes.commands.probe.run import ProbeOptions, Run
from nvscope.probes.commands.top import cli as top
from nvscope.probes.commands.top.view import State
from nvscope.probes.counts import decode
from nvscope.probes.counts.snapshot import Snapshot
from nvscope.probes.errors import LackError
from nvscope.probes.kernel import features
from tests.unit.exporter.fakes import FakeProc
from tests.unit.probes.commands.probe.fakes import ALPHA, HOST
from tests.unit.probes.commands.probe.on_terminal import Growing

PROGRAM = Path(__file__).with_name("on_terminal.py")
ROOT = Path(__file__).parents[5]


@pytest.fixture(autouse=True)
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two that run; and the signals as before."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    proc = FakeProc(tmp_path / "proc")
    proc.start(77, b"qemu\0-name\0alpha\0")
    proc.start(88, b"qemu\0-name\0beta\0")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def measure(
    duration: float | None, interval: float, json_to: Path | None = None, csv_to: str | None = None
) -> None:
    where = str(json_to) if json_to else None
    asked = Asked(KINDS["notifier_unmap"])
    Run(
        Growing(), ProbeOptions(asked, duration, interval, 0, where, csv_to, (), {}, False), HOST
    ).run()


def test_a_time_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(0.3, 0.1, tmp_path / "a.json")
    out = capsys.readouterr().out
    assert 3 <= out.count("alpha: 10 calls") <= 4  # a look each interval, and one at the end
    result = json.loads((tmp_path / "a.json").read_text())
    assert 0.3 <= result["seconds"] < 2
    alpha, beta = result["groups"]
    assert alpha["count"] / beta["count"] == 10 / 4
    assert f"notifier_unmap: {alpha['count'] + beta['count']} calls in 0." in out


def test_an_interval_shorter_than_a_look_still_ends() -> None:
    session.block()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads do not block it
    measure(None, 1e-9)


def test_rows_to_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    measure(0.2, 0.1, csv_to="-")
    said = capsys.readouterr()
    assert {line.count(",") for line in said.out.splitlines()} == {13}
    assert "2 lost" not in said.err
    assert "alpha: 10 calls" in said.err
    assert "calls in 0." in said.err


def show(capsys: pytest.CaptureFixture[str], count: int, as_json: bool) -> str:
    top.show(Growing(), HOST, top.TopOptions(State(), 0.05, count, as_json))
    return capsys.readouterr().out


def test_frames_for_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    frames = [json.loads(line) for line in show(capsys, 2, True).splitlines()]
    assert [[row["vm"] for row in frame["vms"]] for frame in frames] == [["alpha", "beta"]] * 2
    assert frames[0]["unix_ns"] < frames[1]["unix_ns"]


def test_frames_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    out = show(capsys, 2, False)
    assert out.count("2 of 2 VMs") == 2
    assert "q quit" not in out


@pytest.mark.parametrize("what", ["probe", "top"])
def test_a_reader_that_goes(what: str) -> None:
    script = f"{sys.executable} {PROGRAM} {what} | head -n 3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 3)
    assert "Error" not in done.stderr


@pytest.mark.parametrize("command", [["probe", "s2_fault"], ["top", "--once"]])
@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"arch": "x86_64"}, "this is x86_64, and KVM's nested stage 2 is arm64's"),
        ({}, "run as root, or with CAP_BPF and CAP_PERFMON"),
        ({"capabilities": frozenset({"CAP_SYS_ADMIN"}), "kvm": False}, "no /dev/kvm"),
        ({"capabilities": frozenset({"CAP_SYS_ADMIN"}), "nv2": False}, "EL2"),
    ],
)
def test_what_the_host_lacks(
    monkeypatch: pytest.MonkeyPatch, command: list[str], host: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(features, "read_host", lambda: replace(HOST, **host))
    monkeypatch.setattr(run, "require_initial_pid_namespace", lambda: None)
    monkeypatch.setattr(top, "require_initial_pid_namespace", lambda: None)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 3
    assert words in done.output
    assert len(done.output.splitlines()) == 1


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for where in ({"csv_to": "/dev/full"}, {"json_to": Path("/dev/full")}):
        with pytest.raises(LackError, match="cannot write /dev/full: No space left on device"):
            measure(0.05, 0.05, **where)  # type: ignore[arg-type]
    assert "calls in 0." in capsys.readouterr().out  # what was measured is told all the same


def test_slow_calls_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    source = Slow()
    asked = Asked(KINDS["notifier_unmap"])
    Run(source, ProbeOptions(asked, 0.1, 0.1, 1, "-", None, (), {}, False), HOST).run()
    said = capsys.readouterr()
    assert said.err.count("alpha: 5 ns, canonical_ipa 0x1000 size 0x0, by ") == 10
    assert "(2 more slow calls in this interval)" in said.err
    assert len(json.loads(said.out)["slow"]) == 12  # not the one from before the begin


def test_the_last_look_is_at_what_no_longer_moves() -> None:
    """Else a call could be counted, and missing among the slow ones, or the other way round."""
    source = Slow()
    asked = Asked(KINDS["notifier_unmap"])
    Run(source, ProbeOptions(asked, 0.1, 0.03, 1, None, None, (), {}, False), HOST).run()
    assert source.done.count("detach") == 1
    assert source.done[source.done.index("detach") :] == ["detach", "drain", "snapshot"]


class Slow(Growing):
    """One slow call before the begin, and a dozen after it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        super().__init__()
        self._drains = [1, 12]

    def snapshot(self) -> Snapshot:
        self.done.append("snapshot")
        return super().snapshot()

    def detach(self) -> None:
        self.done.append("detach")

    def drain(self) -> tuple[bytes, dict[str, int]]:
        self.done.append("drain")
        event = decode.Event(kvm=ALPHA.kvm, pid=ALPHA.pid, duration_ns=5, canonical_ipa=1 << 12)
        count = self._drains.pop(0) if self._drains else 0
        return bytes(decode.SlowCall(event)) * count, {}
