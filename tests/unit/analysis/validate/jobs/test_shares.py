"""The same is said of a trace, however it is stored and by however many it is judged."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.judging.findings import MAX_FINDINGS, Result
from nvscope.analysis.validate.cli import validate
from nvscope.analysis.validate.jobs import run
from nvscope.analysis.validate.jobs.local import Here
from nvscope.probes.traces.events import Event
from tests.unit.analysis.fleet import (
    LIVES,
    NONSENSE,
    fleets,
    in_batches,
    in_shares,
    mixed,
    of_data_set,
    partition,
    told,
)
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.profiles import PROFILE
from tests.unit.analysis.traces import M1, VM, VM2, Events, booted, written

SAMPLES = sorted(Path("analysis/samples").resolve().glob("*.arrows"))
# Each example writes and reads some files.
FEWER = settings(PROFILE, max_examples=PROFILE.max_examples // 8)


def all_ways(rows: Events) -> list[run.Outcome]:
    """One trace, judged in each way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace, archive = folder / "trace.arrows", folder / "trace.parquet"
        trace.write_bytes(in_batches(rows))
        CliRunner().invoke(convert, [str(trace), str(archive)])
        partition(trace, folder / "fleet")
        return [
            run.judge_all(run.traces_of(trace), Here())[0],
            run.judge_all(run.traces_of(archive), Here())[0],
            in_shares(trace, 3),
            of_data_set(folder / "fleet"),
        ]


@given(fleets())
@FEWER
def test_several_vms_with_violations_and_losses(rows: Events) -> None:
    alone, *others = map(told, all_ways(rows))
    assert others == [alone] * 3


@given(NONSENSE)
@FEWER
def test_rows_that_make_no_sense(rows: Events) -> None:
    alone, *others = map(told, all_ways(rows))
    assert others == [alone] * 3


def test_there_are_findings_and_losses_in_them() -> None:
    rows = mixed(LIVES[-4:], [0, 1, 2, 3] * 20, {30: 5})
    alone = all_ways(rows)[0]
    assert isinstance(alone, Result)
    assert alone.findings
    assert alone.unjudged["events were lost"]
    rows = mixed(LIVES[-4:], [0, 1, 2, 3] * 20, {})
    alone = all_ways(rows)[0]
    assert isinstance(alone, Result)
    assert len({finding.event.kvm for finding in alone.findings}) > 2


def test_of_more_findings_than_are_told_all_tell_the_same() -> None:
    kernel = booted()
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M1)
    for number in range(MAX_FINDINGS + 30):
        vm = VM if number % 3 else VM2
        kernel.recycle(vm, M1)
        kernel.events.append(Event("map", kvm=vm, mmu=M1, size=PAGE, tid=4 if vm == VM else 5))
    alone, *others = map(told, all_ways(kernel.events))
    assert len(alone["findings"]) == MAX_FINDINGS
    assert alone["hidden"] == 30
    assert Counter(bool(finding["trace"]) for finding in alone["findings"])[True] == 20
    assert others == [alone] * 3


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples(sample: Path, tmp_path: Path) -> None:
    alone = run.validate(sample)
    partition(sample, tmp_path / "fleet")
    assert told(of_data_set(tmp_path / "fleet")) == told(alone)


@pytest.mark.parametrize("rows", [[], [Event("loss", detail="ring_full", count=3)]])
def test_traces_without_a_vm(rows: Events) -> None:
    alone, *others = map(told, all_ways(rows))
    assert others == [alone] * 3
    assert alone["rows"] == len(rows)


def test_a_trace_that_was_cut_short_stays_so(tmp_path: Path) -> None:
    trace = tmp_path / "trace.arrows"
    trace.write_bytes(written(LIVES[0], ended=False))
    partition(trace, tmp_path / "fleet")
    alone = told(run.validate(trace))
    assert alone["unjudged"]
    assert told(of_data_set(tmp_path / "fleet")) == alone


def test_processes_on_a_data_set_of_several_traces(tmp_path: Path) -> None:
    """What is printed is the same, but for the names."""
    for number in range(2):
        rows = mixed(LIVES[-3 - number :], [0, 1, 2] * 30, {})
        trace = tmp_path / f"host{number}.arrows"
        trace.write_bytes(in_batches(rows))
        partition(trace, tmp_path / "fleet")
    runner = CliRunner()
    names = [str(tmp_path / f"host{number}.arrows") for number in range(2)]
    files = runner.invoke(validate, names)
    assert files.exit_code == 1
    for jobs in ("1", "2"):
        stored = runner.invoke(validate, ["-j", jobs, str(tmp_path / "fleet")])
        said = stored.stdout.replace(f"{tmp_path}/fleet/boot=unknown/trace=", f"{tmp_path}/")
        assert said.replace(": violation", ".arrows: violation") == files.stdout
        assert stored.exit_code == 1


def test_one_trace_of_a_data_set(tmp_path: Path) -> None:
    trace = tmp_path / "host.arrows"
    trace.write_bytes(in_batches(LIVES[0]))
    partition(trace, tmp_path / "fleet")
    shutil.copytree(tmp_path / "fleet/boot=unknown", tmp_path / "fleet/boot=b007")
    runner = CliRunner()
    for part, traces in (("", 2), ("boot=b007", 1), ("boot=b007/trace=host", 1)):
        ran = runner.invoke(validate, ["-j1", str(tmp_path / "fleet" / part)])
        assert ran.exit_code == 0
        assert ran.stdout.count("trace=host: pass") == traces
