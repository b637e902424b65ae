"""`nvscope verify` as a command: what it prints, and its exit codes."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvscope.analysis.verify import look
from nvscope.cli import main
from nvscope.probes.commands.record.cli import BOOT_ID
from tests.unit.analysis.kernel import PAGE
from tests.unit.analysis.traces import M1, VM, Events, of_kind, without, written
from tests.unit.analysis.verify.debugfs import show, tables
from tests.unit.analysis.verify.lived import PID, lived


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "SETTLE_SECONDS", 0.0)


def verify(folder: Path, *options: str) -> Result:
    words = ["verify", "--debugfs", str(folder), *options, str(folder / "trace.arrows")]
    return CliRunner().invoke(main, words, prog_name="nvscope")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    show(tmp_path, PID, map(tables, lived().vms[VM].values()))
    write(tmp_path, lived().events)
    return tmp_path


def write(folder: Path, events: Events, *, ended: bool = True) -> None:
    events = [replace(event, pid=PID, vm="we\nb") for event in events]
    boot_id = BOOT_ID.read_text().strip()
    (folder / "trace.arrows").write_bytes(written(events, ended=ended, boot_id=boot_id))


def test_equal(folder: Path) -> None:
    done = verify(folder)
    assert done.exit_code == 0
    assert (
        done.stdout
        == f"""\
{folder}/trace.arrows: equal
  VM we b (pid 4711, struct kvm {VM:#x}): equal
    nested_mmu0 (mmu {M1:#x}): equal, 8 KiB in 1 range by both
    nested_mmu1 (mmu {M1 + 0x1000:#x}): equal, 2 MiB in 1 range by both
"""
    )


def test_differs(folder: Path) -> None:
    events = without(lived().events, of_kind("map", mmu=M1, nested_ipa=PAGE))
    write(folder, without(events, of_kind("unmap_begin", "unmap_end")))
    done = verify(folder)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[2:] == [
        f"    nested_mmu0 (mmu {M1:#x}): differs, 4 KiB in 1 range by both",
        "      mapped, but no event says so: 4 KiB in 1 range",
        "        0x1000-0x2000",
        "      an event says so, but not mapped: 4 KiB in 1 range",
        "        0x0-0x1000",
        f"    nested_mmu1 (mmu {M1 + 0x1000:#x}): equal, 2 MiB in 1 range by both",
        "  note: the trace has ended: what was mapped or unmapped since is not in it",
    ]
    found = json.loads(verify(folder, "--json").stdout)
    assert (found["verdict"], found["trace_ended"]) == ("differs", True)
    assert found["vms"][0]["mmus"][0] == {
        "mmu": M1,
        "table": "nested_mmu0",
        "vttbr": 0x1000080100000,
        "verdict": "differs",
        "why": "",
        "both": [[2 * PAGE, 3 * PAGE]],
        "mapped_but_no_event": [[PAGE, 2 * PAGE]],
        "event_but_not_mapped": [[0, PAGE]],
    }


def test_a_trace_without_an_end(folder: Path) -> None:
    events = without(lived().events, of_kind("map", mmu=M1, nested_ipa=PAGE))
    write(folder, events, ended=False)
    done = verify(folder, "--wait", "1ms")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1].startswith("  note: the trace has no end: ")
    assert json.loads(verify(folder, "--json", "--wait", "1ms").stdout)["trace_ended"] is False


def test_cannot_be_told(folder: Path) -> None:
    write(folder, lived().events[1:])
    done = verify(folder)
    assert done.exit_code == 3
    assert "unknown: the VM ran before the trace began" in done.stdout
    kernel = lived()
    kernel.end_vm(VM)
    write(folder, kernel.events)
    done = verify(folder)
    assert (done.exit_code, done.stdout) == (
        3,
        f"{folder}/trace.arrows: unknown (no VM with nested guests is alive at its end)\n",
    )


def test_what_the_machine_lacks(folder: Path) -> None:
    (folder / "kvm").rename(folder / "gone")
    done = verify(folder)
    assert done.exit_code == 3
    assert done.stderr == (
        f"Error: {folder}/kvm: No such file or directory: mount debugfs"
        f" (mount -t debugfs debugfs {folder}) on a host with KVM\n"
    )


def test_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root, who may run this, is refused nothing
    done = verify(folder)
    assert done.exit_code == 3
    assert done.stderr == f"Error: {folder}/kvm: Permission denied: run as root\n"


@pytest.mark.parametrize("content", [None, b"", b"hello", b"\xff" * 100])
def test_what_is_no_trace(folder: Path, content: bytes | None) -> None:
    trace = folder / "trace.arrows"
    trace.unlink()
    if content is not None:
        trace.write_bytes(content)
    done = verify(folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {trace}: ")
    assert done.stderr.count("\n") == 1


def test_a_pipe(folder: Path) -> None:
    (folder / "trace.arrows").unlink()
    os.mkfifo(folder / "trace.arrows")
    done = verify(folder)
    assert done.exit_code == 2
    assert "a pipe will not do" in done.stderr
