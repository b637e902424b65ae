"""`nvscope probe` and `nvscope top` on a host: against ground truth, the exporter and ftrace.

All of them are started at once and see the same two VMs, for compiling takes the time: one that is
held, and one that begins and ends while they run.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pytest

from nvscope.lab.services import GuestProcess, Metrics, Synthetic
from nvscope.lab.vm import Lab
from tests.live.conftest import Observed
from tests.live.counts import UNMAPS, by_ftrace, oracle
from tests.terminal import Terminal

BEGIN_SECONDS = 600
UNMAPS_OF = {"held": 61, "brief": 7}
JSON, CSV = "/tmp/probe.json", "/tmp/probe.csv"
CTRL_C = "\x03"

pytestmark = pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)


@dataclass
class Seen:
    """What all have said. facts: of each VM; by probe: its result; refused: exit code and words."""

    facts: dict[str, Any]
    metrics: Metrics
    ftrace: dict[str, dict[str, int]]
    notifier: dict[str, Any]
    unmaps: dict[str, Any]
    records: dict[str, Any]
    faults: list[dict[str, str]]
    summary: str
    frames: list[str]
    refused: dict[str, subprocess.CompletedProcess[str]]
    warnings: str


class Started:
    """The probes that run. On terminals: notifier, top."""

    def __init__(self, host: Lab, stack: contextlib.ExitStack) -> None:
        self.notifier = stack.enter_context(
            on_terminal(
                host, f"probe notifier_unmap --by vm --by trigger --threshold 1ns --json {JSON}"
            )
        )
        self.top = stack.enter_context(on_terminal(host, "top"))
        self.unmaps, self.records, self.faults = (
            stack.enter_context(GuestProcess(host, f"nvscope probe {words}"))
            for words in (
                "shadow_unmap --by vm --by scope --by reason --by within --json",
                "revmap_record --by vm --by outcome --mechanism kprobe --json",
                f"s2_fault --by stage --by vm --csv={CSV} --interval 500ms",
            )
        )
        for process in (self.unmaps, self.records, self.faults):
            process.await_error("nvscope: measuring", BEGIN_SECONDS)
        self.notifier.await_text("(Ctrl-C ends it)", BEGIN_SECONDS)
        self.top.await_text("top: measuring", BEGIN_SECONDS)

    def stop(self) -> None:
        """Each in its own way; all in order."""
        self.notifier.type(CTRL_C)
        self.top.type("q")
        for process, number in ((self.unmaps, 15), (self.records, 2), (self.faults, 15)):
            process.signal(number)
        assert self.notifier.wait(60) == 0
        assert self.top.wait(60) == 0
        for process in (self.unmaps, self.records, self.faults):
            assert process.wait() == 0


def on_terminal(host: Lab, words: str) -> Terminal:
    return Terminal(host.remote.arguments(f"nvscope {words}", tty=True))


@pytest.fixture(scope="module")
def seen(observed: Observed) -> Iterator[Seen]:
    host, exporter, _ = observed
    with contextlib.ExitStack() as stack:
        probes = Started(host, stack)
        oracle(host, "start")
        options = ("--unmaps", str(UNMAPS_OF["held"]), "--pace", "0.05")
        held = stack.enter_context(Synthetic(host, "held", *options))
        frames = [probes.top.await_match(r"held +[1-9]", 60)]
        facts = {"held": held.facts(120)}
        with Synthetic(host, "brief", "--unmaps", str(UNMAPS_OF["brief"]), hold=False) as brief:
            facts["brief"] = brief.facts(120)
            assert brief.wait() == 0
        refused = {
            words: host.run(f"nvscope {words}", check=False)
            for words in ("probe s2_fault --vm nobody", "probe s2_fault --by reason")
        }
        probes.top.type("/held\n")
        frames.append(probes.top.await_text("filter 'held'", 60))
        probes.stop()
        yield Seen(
            facts=facts,
            metrics=exporter.scrape(),
            ftrace=oracle(host, "stop"),
            notifier=json.loads(host.remote.fetch(JSON)),
            unmaps=json.loads(probes.unmaps.line(10)),
            records=json.loads(probes.records.line(10)),
            faults=list(csv.DictReader(host.remote.fetch(CSV).decode().splitlines())),
            summary=probes.notifier.text(),
            frames=frames,
            refused=refused,
            warnings=probes.unmaps.errors(),
        )
        host.run(f"rm {JSON} {CSV}")
        held.release()
        assert held.wait() == 0


def counts(result: dict[str, Any], *axes: str) -> dict[tuple[str, ...], int]:
    """Values of these axes -> calls."""
    found: dict[tuple[str, ...], int] = {}
    for group in result["groups"]:
        labels = tuple(group["labels"][axis] for axis in axes)
        found[labels] = found.get(labels, 0) + group["count"]
    return found


def test_counts_are_the_workloads(seen: Seen) -> None:
    expected = {vm: facts["expected"] for vm, facts in seen.facts.items()}
    assert counts(seen.notifier, "vm", "trigger") == {
        (vm, "vmm"): UNMAPS_OF[vm] for vm in UNMAPS_OF
    }
    assert counts(seen.unmaps, "vm", "scope", "reason", "within") == {
        (vm, "ranged", "none", "notifier"): n for vm, n in UNMAPS_OF.items()
    }
    assert counts(seen.records, "vm", "outcome") == {
        (vm, "stored"): facts["records_stored"] for vm, facts in expected.items()
    }
    for result in (seen.notifier, seen.unmaps, seen.records):
        assert set(result["lost"].values()) == {0}
        assert result["host"]["revmap"] == "maple"


def test_counts_are_ftraces(seen: Seen) -> None:
    for vm, facts in seen.facts.items():
        traced = by_ftrace(seen.ftrace, facts["pid"], facts["shadow_ipa_bits"])
        assert traced["notifier_unmaps"] == counts(seen.notifier, "vm")[vm,]
        assert traced["ranged_unmaps_in_notifier"] == counts(seen.unmaps, "vm")[vm,]


def test_rows_of_intervals_add_up(seen: Seen) -> None:
    for vm, facts in seen.facts.items():
        for stage in ("canonical", "shadow"):
            rows = [row for row in seen.faults if (row["vm"], row["stage"]) == (vm, stage)]
            assert sum(int(row["count"]) for row in rows) == facts["expected"][f"{stage}_faults"]
            assert all(0.4 < float(row["seconds"]) < 30 for row in rows)
            assert {row["lost"] for row in rows} <= {"0"}
    # It was there for more than one of them.
    assert len([row for row in seen.faults if row["vm"] == "held"]) > 3


def test_the_histogram_is_the_exporters(seen: Seen) -> None:
    """Each measures a little of what the other costs: a call may lie one bucket off."""
    (group,) = (g for g in seen.notifier["groups"] if g["labels"]["vm"] == "held")
    mine = list(accumulate(group["slots"]))
    buckets = seen.metrics.values(f"{UNMAPS}_bucket", "le", vm="held")
    theirs = {
        round(float(bound) * 1e9).bit_length() - 1: n
        for bound, n in buckets.items()
        if bound != "+Inf"
    }
    assert buckets["+Inf"] == group["count"] == UNMAPS_OF["held"]
    for log2, n in theirs.items():
        assert mine[log2 - 1] <= n <= mine[log2 + 1], f"below {2**log2} ns"
    theirs_ns = seen.metrics.sum(f"{UNMAPS}_sum", vm="held") * 1e9
    assert group["sum_ns"] == pytest.approx(theirs_ns, rel=0.5)


def test_percentiles_are_bounds(seen: Seen) -> None:
    for group in seen.notifier["groups"]:
        low, high = group["percentiles_ns"]["50"]
        below = sum(group["slots"][: low.bit_length()])
        assert below * 2 < group["count"] <= 2 * sum(group["slots"][: high.bit_length()])


def test_each_slow_call_is_told(seen: Seen) -> None:
    """A threshold that all exceed."""
    slow = seen.notifier["slow"]
    assert len(slow) == sum(UNMAPS_OF.values())
    assert seen.notifier["slow_dropped"] == 0
    for call in slow:
        assert (call["trigger"], call["comm"], call["size"]) == ("vmm", "python3", 4096)
        names = [frame.partition("+")[0] for frame in call["stack"]]
        assert names[0] == "kvm_unmap_gfn_range"
        assert "kvm_mmu_notifier_invalidate_range_start" in names
        assert "do_madvise" in names
    sums = {vm: sum(c["duration_ns"] for c in slow if c["vm"] == vm) for vm in UNMAPS_OF}
    assert sums == {g["labels"]["vm"]: g["sum_ns"] for g in seen.notifier["groups"]}


def test_the_summary_on_the_terminal(seen: Seen) -> None:
    """Golden, but for the durations."""
    blurred = re.sub(r"\d+(\.\d+)? [nµm]?s\b", "T", seen.summary)
    blurred = re.sub(r"[ ]+", " ", re.sub(r"\|\**", "|", blurred))
    assert "notifier_unmap: 68 calls in T, none lost\n" in blurred
    assert "\n vm trigger calls per s mean p50 p90 p99 p99.9\n" in blurred
    assert re.search(
        r"\n held vmm 61 [\d.]+ T <T <T <T <T\n brief vmm 7 [\d.]+ T <T <T <T <T\n", blurred
    )
    assert "\nvm=held trigger=vmm\n T - T " in blurred
    assert "(Ctrl-C ends it)" not in seen.summary


def test_top_shows_what_happens(seen: Seen) -> None:
    busy, filtered = seen.frames
    assert re.search(r"^ VM +unmaps/s +full +locked/s↓ +refaults/s +why full$", busy, re.MULTILINE)
    assert re.search(r"^ held +[\d.]+ +0 % +[\d.]+ [µm]s +[\d.]+ [µm]s$", busy, re.MULTILINE)
    assert "none lost" in busy
    assert "1 of" in filtered


def test_what_is_refused(seen: Seen) -> None:
    unknown, axis = seen.refused.values()
    assert (unknown.returncode, axis.returncode) == (2, 2)
    assert "there is no VM nobody; there are held" in unknown.stderr
    assert "s2_fault has no reason: --by can be vm, stage, result" in axis.stderr
    assert "Traceback" not in unknown.stderr + axis.stderr
    assert "no VM is running now; those that begin are measured" in seen.warnings
