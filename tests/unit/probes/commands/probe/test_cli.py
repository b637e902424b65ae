"""What `nvscope probe` and `nvscope top` say to wrong usage, and to VMs that are not there."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from nvscope.probes.commands.options import seconds
from nvscope.probes.commands.probe import run, running
from nvscope.probes.commands.probe.cli import probe
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked
from nvscope.probes.commands.top.cli import top
from nvscope.probes.errors import LackError
from nvscope.probes.vms import running_vms
from tests.unit.exporter.fakes import FakeProc
from tests.unit.probes.commands.probe.fakes import HOST


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """The commands block those that end them, for the rest of their process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "NAME is missing; there are notifier_unmap, s2_fault, shadow_unmap, revmap_record"),
        (["--json"], "NAME is missing"),
        (["unmap"], "there is no probe unmap"),
        (["s2_fault", "--by", "trigger"], "s2_fault has no trigger: --by can be vm, stage, result"),
        (["s2_fault", "--by", "size"], "'--by'"),
        (["s2_fault", "--duration", "soon"], "'soon'; for example 30s"),
        (["s2_fault", "--interval", "0s"], "'0s'; for example 1s"),
        (["s2_fault", "--threshold", "-1ms"], "'-1ms'; for example 1ms"),
        (["s2_fault", "--json", "--csv"], "standard output is for --json or for --csv"),
        (["s2_fault", "more"], "more"),
    ],
)
def test_wrong_usage_of_probe(options: list[str], words: str) -> None:
    done = CliRunner().invoke(probe, options)
    assert (done.exit_code, done.output.count("Error:")) == (2, 1)
    assert words in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sort", "size"], "--sort"),
        (["--interval", "x"], "'x'; for example 1s"),
        (["--count", "0"], "--count"),
        (["--once", "--count", "2"], "--once is --count 1"),
    ],
)
def test_wrong_usage_of_top(options: list[str], words: str) -> None:
    done = CliRunner().invoke(top, options)
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(
    ("words", "name", "json_to", "csv_to"),
    [
        ("s2_fault --json", "s2_fault", "-", None),
        ("s2_fault --json a.json", "s2_fault", "a.json", None),
        ("--json s2_fault", "s2_fault", "-", None),
        ("--csv s2_fault --json a.json", "s2_fault", "a.json", "-"),
        ("s2_fault --json=a.json --csv", "s2_fault", "a.json", "-"),
        ("s2_fault", "s2_fault", None, None),
    ],
)
def test_where_results_go(
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    name: str,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    asked: list[run.ProbeOptions] = []
    monkeypatch.setattr(run, "run", asked.append)
    done = CliRunner().invoke(probe, words.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = [(w.asked.kind.name, w.json_to, w.csv_to, w.asked.by, w.interval) for w in asked]
    assert found == [(name, json_to, csv_to, ("vm",), 1.0)]


def test_axes_are_kept_in_order_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[run.ProbeOptions] = []
    monkeypatch.setattr(run, "run", asked.append)
    options = ["shadow_unmap", "--by", "reason", "--by", "vm", "--by", "reason"]
    CliRunner().invoke(probe, [*options, "--threshold", "1us"], catch_exceptions=False)
    assert (asked[0].asked.by, asked[0].threshold_ns) == (("reason", "vm"), 1000)


def test_a_record_needs_a_reverse_map() -> None:
    asked = Asked(KINDS["revmap_record"])
    run.require_revmap(asked, HOST, {"kvm_nested_revmap_record"}.__contains__)
    for revmap in ("none", "tracking"):
        host = type(HOST)(**{**HOST.__dict__, "revmap": revmap})
        with pytest.raises(LackError, match="no such reverse map"):
            run.require_revmap(asked, host, {"kvm_nested_revmap_record"}.__contains__)
    run.require_revmap(asked, host, {"kvm_guest_s2_track"}.__contains__)


@pytest.mark.parametrize("text", ["1e3", "9" * 400, "1d", "-1", " ", "1e400s", "99999999h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=text[:5]):
        seconds(text)


def start_vm(proc: FakeProc, pid: int, name: str, file: str = "anon_inode:kvm-vm") -> None:
    proc.start(pid, b"qemu\0-name\0%s\0" % name.encode())
    files = proc.root / str(pid) / "fd"
    files.mkdir()
    (files / "0").symlink_to("/dev/null")
    (files / "9").symlink_to(file)


def test_vms_that_run(proc: FakeProc) -> None:
    start_vm(proc, 77, "db")
    start_vm(proc, 88, "web")
    start_vm(proc, 99, "none", file="/dev/kvm")
    assert [(vm.label, vm.pid) for vm in running_vms.running()] == [("db", 77), ("web", 88)]
    running.require(["db", "88"])
    with pytest.raises(click.UsageError, match="there is no VM other; there are db, web"):
        running.require(["db", "other"])


def test_two_vms_of_one_name(proc: FakeProc) -> None:
    start_vm(proc, 77, "db")
    start_vm(proc, 88, "db")
    with pytest.raises(click.UsageError, match="2 VMs are named db: give a pid, 77 or 88"):
        running.require(["db"])
    running.require(["77"])


def test_where_no_vm_runs_one_is_waited_for(
    proc: FakeProc, capsys: pytest.CaptureFixture[str]
) -> None:
    proc.start(5, b"init\0")
    running.require(["db"])
    assert "no VM is running now" in capsys.readouterr().err
    with pytest.raises(click.UsageError, match="has no name"):
        running.require(["db", ""])
