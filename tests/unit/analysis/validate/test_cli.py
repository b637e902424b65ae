"""`nvscope validate`: what it prints, in all formats, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from nvscope.analysis.judging.findings import INVARIANTS
from nvscope.analysis.validate.cli import validate
from nvscope.probes.traces.events import Event
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.traces import M1, VM, VM2, booted, of_kind, without, written

C, N = 4 * BLOCK, 9 * BLOCK

GOLDEN = """\
trace.arrows: violation (1 finding)
  110 rows of kernel 7.3.0, judged as maple-v2
  safety       violation   24 judged, 1 wrong
  fallback     pass        0 judged
  precision    pass        10 judged
  conformance  pass        21 judged
  notifier unmaps: 12, of 40.0 KiB, of which 40.0 KiB had to go: 1.00 to 1
  shadow unmaps in them: 0 full, 10 ranged; 10 needed, 0 needless

  1. safety: when a notifier unmap is done, no shadow mapping leads into its
     range
     at        row 109, notifier_end
     of        VM 0xffff000012340000 (pid 0), MMU 0xffff000056780000
     expected  no mapping that leads into the range
     seen      1 left
     before    broken: no
               entry 0x800000 +0x1000: nested 0x1200000
               mapped 0x1200000 +0x1000: canonical 0x800000 (row 106)
     rows that show it:
         1  mmu_init        tid 0
       105  record          tid 1  c 0x800000 n 0x1200000 +0x1000  stored
       106  map             tid 1  c 0x800000 n 0x1200000 +0x1000
       108  notifier_begin  tid 9  c 0x800000 +0x1000
       109  notifier_end    tid 9  c 0x800000 +0x1000
"""


def good() -> Kernel:
    kernel = booted()
    for page in range(10):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
        kernel.notifier(VM, C + page * PAGE, PAGE)
        kernel.fault(VM, M1, N, C, PAGE)
        kernel.notifier(VM, C + BLOCK, PAGE) if page == 0 else None
    return kernel


def bad() -> list[Event]:
    kernel = booted()
    for page in range(1, 11):
        kernel.fault(VM, M1, N + page * PAGE, C + page * PAGE, PAGE)
        kernel.notifier(VM, C + page * PAGE, PAGE)
        kernel.fault(VM, M1, N + BLOCK, C + BLOCK, PAGE)
    kernel.notifier(VM, C, PAGE)
    kernel.fault(VM, M1, N, C, PAGE)
    at = len(kernel.events)
    kernel.notifier(VM, C, PAGE)
    return kernel.events[:at] + without(kernel.events[at:], of_kind("unmap_begin", "unmap_end"))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(validate, [str(a) for a in args])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a trace of each verdict, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    Path("good.arrows").write_bytes(written(good().events[:40], good().events[40:]))
    Path("trace.arrows").write_bytes(written(bad()[:50], bad()[50:]))
    Path("late.arrows").write_bytes(written(good().events[3:]))
    Path("cut.arrows").write_bytes(written(good().events, ended=False))
    Path("none.arrows").write_bytes(b"not an Arrow stream at all")
    return tmp_path


def test_a_finding_as_text(files: Path) -> None:
    result = run("trace.arrows")
    assert result.output == GOLDEN
    assert result.exit_code == 1
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good.arrows"], 0),
        (["late.arrows"], 3),
        (["cut.arrows"], 3),
        (["none.arrows"], 2),
        (["missing.arrows"], 2),
        (["."], 2),
        (["good.arrows", "late.arrows"], 3),
        (["none.arrows", "late.arrows"], 2),
        (["none.arrows", "late.arrows", "trace.arrows", "good.arrows"], 1),
        ([], 2),
        (["--variant", "maple-v9", "good.arrows"], 2),
        (["--follow", "good.arrows", "trace.arrows"], 2),
    ],
)
def test_exit_codes(files: Path, names: list[str], code: int) -> None:
    """0 ok, 1 violations found, 2 usage, 3 unknown; and never a traceback."""
    result = run(*names)
    assert result.exit_code == code
    assert "Traceback" not in result.output + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_what_is_no_trace_is_one_line(files: Path) -> None:
    result = run("none.arrows", "missing.arrows")
    assert result.stdout == ""
    assert result.stderr == (
        "nvscope: none.arrows: this is no Arrow stream, but a text without an event of ftrace's or"
        " perf's: `nvscope convert --recipe` has such\n"
        "nvscope: missing.arrows: No such file or directory\n"
    )


def test_unknown_says_why(files: Path) -> None:
    result = run("late.arrows", "cut.arrows")
    assert "late.arrows: unknown (not all could be judged)" in result.output
    assert "mapped before the trace began" in result.output
    assert "the trace is not whole: the recorder did not end it" in result.output


def test_json(files: Path) -> None:
    result = run("--format", "json", "trace.arrows", "good.arrows", "none.arrows")
    said = json.loads(result.stdout)["files"]
    assert [file["verdict"] for file in said] == ["violation", "pass", None]
    (finding,) = said[0]["findings"]
    assert finding["row"] == 109
    assert [row["row"] for row in finding["trace"]] == [1, 105, 106, 108, 109]
    assert finding["trace"][-1]["event"]["kind"] == "notifier_end"
    assert said[1]["over_unmap_ratio"] == 1.0
    verdicts = {name: each["verdict"] for name, each in said[0]["invariants"].items()}
    assert verdicts == {
        "safety": "violation",
        "fallback": "pass",
        "precision": "pass",
        "conformance": "pass",
    }
    assert said[0]["invariants"]["safety"]["violations"] == 1
    assert said[0]["requirements"] == []
    late = json.loads(run("--format", "json", "late.arrows").stdout)["files"][0]
    assert late["invariants"]["safety"]["unknown"]["mapped before the trace began"] == 11
    assert late["inexact"]["over_unmap_ratio"] == {"mapped before the trace began": 10}
    assert late["inexact"]["full_unmaps"] == {}


def test_junit(files: Path) -> None:
    result = run("--format", "junit", "trace.arrows", "late.arrows", "none.arrows")
    suites = ElementTree.fromstring(result.stdout).findall("testsuite")
    assert [(s.get("failures"), s.get("errors"), s.get("skipped")) for s in suites] == [
        *[("1", "0", "0"), ("0", "0", "5"), ("0", "1", "0")]
    ]
    failed = [c.get("name") for c in suites[0] if c.find("failure") is not None]
    assert failed == ["safety"]
    skipped = [c.find("skipped") for c in suites[1]]
    said = [skip.get("message", "") for skip in skipped if skip is not None]
    assert len(said) == 5
    assert said[0].startswith("unknown: mapped before the trace began (11), ")


def test_sarif(files: Path) -> None:
    result = run("--format", "sarif", "trace.arrows", "late.arrows", "none.arrows")
    said = json.loads(result.stdout)
    assert said["version"] == "2.1.0"
    (ran,) = said["runs"]
    assert [rule["id"] for rule in ran["tool"]["driver"]["rules"]] == list(INVARIANTS)
    (found,) = ran["results"]
    assert found["ruleId"] == "safety"
    assert list(INVARIANTS)[found["ruleIndex"]] == "safety"
    notes = ran["invocations"][0]["toolExecutionNotifications"]
    assert [note["level"] for note in notes] == ["warning", "error"]
    verdicts = [
        [each["verdict"] for each in file["invariants"].values()]
        for file in ran["properties"]["files"]
    ]
    assert verdicts == [["violation", *["pass"] * 3], ["unknown"] * 4]


def test_output_to_a_file(files: Path) -> None:
    result = run("-o", "said.txt", "trace.arrows")
    assert result.stdout == ""
    assert Path("said.txt").read_text() == GOLDEN
    refused = run("-o", "/nonexistent/said.txt", "trace.arrows")
    assert "cannot write /nonexistent/said.txt: No such file" in refused.stderr


def test_shares_of_the_vms_come_to_the_same(tmp_path: Path) -> None:
    kernel = good()
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M1 + 0x10000)
    kernel.fault(VM2, M1 + 0x10000, N, C, PAGE)
    kernel.notifier(VM2, C, PAGE)
    events = without(kernel.events, lambda e: e.kind.startswith("unmap") and e.kvm == VM2)
    path = tmp_path / "trace.arrows"
    path.write_bytes(written(events, [Event("loss", detail="ring_full", count=2)]))
    alone, shared = (run("--format", "json", "-j", jobs, path) for jobs in ("1", "3"))
    assert json.loads(alone.stdout) == json.loads(shared.stdout)
    assert alone.exit_code == shared.exit_code == 1


@pytest.mark.parametrize("revmap", ["later", "other"])
def test_a_kernel_without_the_model(revmap: str, tmp_path: Path) -> None:
    """Behaviour means the same on all kernels; how these decide is not known here."""
    path = tmp_path / "trace.arrows"
    path.write_bytes(written(good().events, revmap=revmap))
    result = run(path)
    assert result.exit_code == 0
    assert "  safety       pass        22 judged\n" in result.output
    assert "  conformance  not judged  no model knows how this kernel decides\n" in result.output
    path.write_bytes(written(bad(), revmap=revmap))
    assert run(path).exit_code == 1
    assert run("--variant", "maple-v2", path).exit_code == 1
    path.write_bytes(written(good().events[3:], revmap=revmap))
    assert run(path).exit_code == 3


def test_following_a_file_that_grows(tmp_path: Path) -> None:
    """It is judged as it comes, and ends when the recorder does."""
    whole, path = written(bad()[:50], bad()[50:]), tmp_path / "trace.arrows"
    path.write_bytes(whole[:1000])

    def grow() -> None:
        with path.open("ab") as file:
            for start in range(1000, len(whole), 1500):
                time.sleep(0.01)
                file.write(whole[start : start + 1500])
                file.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    result = run("--follow", path)
    thread.join()
    assert result.exit_code == 1
    assert "nvscope: safety: row 109" in result.stderr
    assert result.stdout.replace(str(path), "trace.arrows") == GOLDEN


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_following_ends_on_a_signal(tmp_path: Path, ending: signal.Signals) -> None:
    path = tmp_path / "trace.arrows"
    path.write_bytes(written(bad(), ended=False))
    command = [sys.executable, "-m", "nvscope", "validate", "--follow", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stderr is not None
        assert "nvscope: safety" in process.stderr.readline()
        process.send_signal(ending)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out.startswith(f"{path}: violation")
    assert err == ""
