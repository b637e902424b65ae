"""Points files on a real kernel: the same events by other paths, and what is said of bad files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from nvscope.analysis.validate.jobs.run import validate
from nvscope.lab.host.services import Recording, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.probes.traces.events import Event
from nvscope.probes.traces.tracefile import open_trace
from tests.live.counts import NOT_RECORDED, assert_ftrace_agrees, by_trace, oracle, traced

MASK = (1 << 64) - 1
PAGE_SHIFT = 12
PLAIN, NAMED, OTHER, REACHED, SUGGESTED = "plain", "lab-maple", "other", "reached", "suggested"

# The same functions as if they were another patch's: numbers for names, MMUs by way of their page
# tables, faults by way of the vCPU.
OTHER_TEXT = """
[s2_fault]
function = "user_mem_abort"
vcpu = "s2fd->vcpu"
mmu = "s2fd->vcpu->arch.hw_mmu"
fault_ipa = "s2fd->fault_ipa"
nested = "s2fd->nested"

[shadow_unmap]
function = "__unmap_stage2_range"
mmu = "mmu->pgt->mmu"

[revmap_record]
function = "kvm_nested_revmap_record"
mmu = "mmu->pgt->mmu"
nested_ipa = "nested_ipa"
canonical_ipa = "canonical_ipa"
size = "size"
outcome = "return"
outcomes = {stored = 0, unchanged = 1, overlapped = [2], failed = 3, skipped = [4, "negative"]}

[revmap_broken]
function = "kvm_nested_revmap_break"
mmu = "mmu->pgt->mmu"

# What each full unmap runs through, whyever: a fallback where a notifier unmap is around it.
[revmap_fallback]
function = "kvm_nested_s2_unmap_full"
mmu = "mmu"
only_in_notifier = true
reason = 7
reasons = {unknown_ipa = 7}
"""
# Values that mean nothing, but for what they must become.
REACHED_TEXT = """
[revmap_record]
function = "kvm_nested_revmap_record"
mmu = "mmu"
nested_ipa = "nested_ipa"
canonical_ipa = {value = "canonical_ipa", unit = "page"}
last = {value = "size", of = "nested_ipa"}
outcome = "size"
outcomes = {unchanged = 4096}
"""


@pytest.fixture(scope="module")
def recorded(lab_host: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """One guest, recorded by each of the files at once; the ledger and ftrace have its counts."""
    folder = tmp_path_factory.mktemp("points")
    write(lab_host, OTHER, OTHER_TEXT)
    write(lab_host, REACHED, REACHED_TEXT)
    lab_host.run(f"nvscope doctor --suggest > {path(SUGGESTED)}")
    options = {
        PLAIN: [],
        NAMED: ["--points", NAMED],
        **{name: ["--points", path(name)] for name in (OTHER, SUGGESTED)},
        REACHED: ["--points", path(REACHED), "--mechanism", "kprobe"],
    }
    with contextlib.ExitStack() as stack:
        recordings = {
            name: stack.enter_context(Recording(lab_host, "--strict", *said))
            for name, said in options.items()
        }
        oracle(lab_host, "start")
        with Synthetic(lab_host, "pollution", "pollution", script="case") as guest:
            facts = guest.facts(120)
            assert_ftrace_agrees(facts, traced(lab_host))
            guest.release()
            assert guest.wait() == 0
        oracle(lab_host, "stop")
        traces = {name: folder / f"{name}.arrows" for name in options}
        for name, recording in recordings.items():
            traces[name].write_bytes(recording.finish())
    counts = {key: n for key, n in facts["expected"].items() if n and key not in NOT_RECORDED}
    assert counts["records_overlapped"] and counts["fallbacks_unknown_ipa"]
    assert by_trace(events(traces[PLAIN])) == counts
    yield traces


def path(name: str) -> str:
    return f"/tmp/{name}.toml"


def write(lab: Lab, name: str, text: str) -> None:
    lab.run(f"cat > {path(name)} <<'EOF'\n{text}\nEOF")


def events(trace: Path) -> list[Event]:
    with open_trace(trace) as reader:
        return list(reader.events())


def told(found: list[Event]) -> list[tuple[object, ...]]:
    """What events say. Not when, nor on which CPU: a task may move between two functions."""
    other = {"time_ns": 0, "duration_ns": 0, "cpu": 0, "vm": ""}
    return [astuple(replace(event, **other)) for event in found]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [NAMED, OTHER, SUGGESTED])
def test_the_same_events_by_other_names_and_paths(name: str, recorded: dict[str, Path]) -> None:
    found = told(events(recorded[name]))
    assert found == told(events(recorded[PLAIN]))
    assert validate(recorded[name]).verdict == validate(recorded[PLAIN]).verdict == "pass"


def test_units_ends_and_outcomes_by_a_parameter(recorded: dict[str, Path]) -> None:
    plain = [e for e in events(recorded[PLAIN]) if e.kind == "record"]
    reached = [e for e in events(recorded[REACHED]) if e.kind == "record"]
    assert len(plain) == len(reached) > 0
    for one, other in zip(plain, reached, strict=True):
        assert other.nested_ipa == one.nested_ipa
        assert other.canonical_ipa == one.canonical_ipa << PAGE_SHIFT & MASK
        assert other.size == one.size + 1 - one.nested_ipa & MASK
        assert other.detail == ("unchanged" if one.size == 4096 else "unknown")


def test_a_trace_says_which_file_it_was(recorded: dict[str, Path]) -> None:
    with open_trace(recorded[OTHER]) as reader:
        assert reader.about.points.startswith(f"{path(OTHER)} sha256:")
        assert reader.about.points_text.strip() == OTHER_TEXT.strip()
    with open_trace(recorded[PLAIN]) as reader:
        assert (reader.about.points, reader.about.points_text) == ("", "")


RECORD = '[revmap_record]\nfunction = "kvm_nested_revmap_record"\n'
BAD = [
    ("[revmap_recrd]\n", 2, "line 1: no table [revmap_recrd]; there are [revmap], "),
    (f"{RECORD}canonical = 'x'\n", 2, "line 3: [revmap_record] canonical: no such key; there are"),
    ("[revmap_record]\nmmu = 'mmu'\n", 2, "line 1: [revmap_record] has no function: say which"),
    (
        "[revmap_record]\nfunction = 'gone'\n",
        3,
        "line 1: [revmap_record] function: this kernel has no function gone",
    ),
    (
        f"{RECORD}canonical_ipa = 'gpa'\n",
        3,
        "line 3: [revmap_record] canonical_ipa: kvm_nested_revmap_record() has no parameter gpa;"
        " it has (struct kvm_s2_mmu *mmu, gpa_t nested_ipa, gpa_t canonical_ipa, u64 size)",
    ),
    (
        f"{RECORD}mmu = 'mmu->owner'\n",
        3,
        "line 3: [revmap_record] mmu: mmu->owner: struct kvm_s2_mmu has no member owner",
    ),
    (
        f"{RECORD}mmu = 'size'\n",
        3,
        "line 3: [revmap_record] mmu: size is a u64, and has to be struct kvm_s2_mmu *",
    ),
]


@pytest.mark.parametrize(("text", "status", "words"), BAD)
def test_a_bad_file_is_one_line(lab_host: Lab, text: str, status: int, words: str) -> None:
    write(lab_host, "bad", text)
    done = lab_host.run(f"nvscope record --points {path('bad')} /tmp/bad.arrows", check=False)
    (line,) = done.stderr.strip().splitlines()
    assert (done.returncode, f"{path('bad')} {words}" in line) == (status, True), line
    assert "Error: " in line


def test_doctor_says_what_of_a_file_is_not_there(lab_host: Lab) -> None:
    write(lab_host, "bad", f"{RECORD}mmu = 'size'\n")
    done = lab_host.run(f"nvscope doctor --json --points {path('bad')}", check=False)
    said = json.loads(done.stdout)
    (check,) = (each for each in said["checks"] if each["name"] == "points file")
    assert (done.returncode, check["state"]) == (3, "lack")
    assert "size is a u64, and has to be struct kvm_s2_mmu *" in check["remedy"]
    done = lab_host.run("nvscope doctor --json --points lab-maple", check=False)
    assert done.returncode == 0, done.stdout
