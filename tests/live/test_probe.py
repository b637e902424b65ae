"""`nvscope probe` and `nvscope top` on a host: against ground truth, the exporter and ftrace.

All of them are started at once and see the same two VMs, for compiling takes the time: one that is
held, and one that begins and ends while they run.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
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
SEEN_SECONDS = 120
END_SECONDS = 60
UNMAPS_OF = {"held": 61, "brief": 29}
JSON, CSV = "/tmp/probe.json", "/tmp/probe.csv"
CTRL_C = "\x03"
LINES = 60  # of the terminals: the summary fits

pytestmark = pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)


@dataclass
class Seen:
    """What all have said. facts: of each VM; by probe: its result; refused: exit code and words."""

    facts: dict[str, Any]
    metrics: Metrics
    ftrace: dict[str, dict[str, int]]
    notifier: dict[str, Any]
    records: dict[str, Any]
    rows: list[dict[str, str]]
    summary: str
    frames: list[str]
    refused: subprocess.CompletedProcess[str]
    warnings: str


class Started:
    """The probes that run. On terminals: notifier, top."""

    def __init__(self, host: Lab, stack: contextlib.ExitStack) -> None:
        def on_terminal(words: str) -> Terminal:
            command = host.remote.arguments(f"nvscope {words}", tty=True)
            return stack.enter_context(Terminal(command, lines=LINES))

        slow = f"--by vm --by trigger --threshold 1ns --json {JSON}"
        self.notifier = on_terminal(f"probe notifier_unmap {slow}")
        self.top = on_terminal("top")
        command = f"revmap_record --by vm --by outcome --mechanism kprobe --json --csv={CSV}"
        self.records = stack.enter_context(GuestProcess(host, f"nvscope probe {command}"))
        self.records.await_error("nvscope: measuring", BEGIN_SECONDS)
        self.notifier.await_text("(Ctrl-C ends it)", BEGIN_SECONDS)
        self.top.await_text("top: measuring", BEGIN_SECONDS)

    def stop(self) -> None:
        """Each in its own way; all in order."""
        self.notifier.type(CTRL_C)
        self.top.type("q")
        self.records.signal(signal.SIGTERM)
        for each in (self.notifier, self.top, self.records):
            assert each.wait(END_SECONDS) == 0


@pytest.fixture(scope="module")
def seen(observed: Observed) -> Iterator[Seen]:
    host, exporter, _ = observed
    with contextlib.ExitStack() as stack:
        probes = Started(host, stack)
        oracle(host, "start")
        facts, frames = {}, []
        for name, unmaps in UNMAPS_OF.items():
            options = ("--unmaps", str(unmaps), "--pace", "0.1")
            guest = stack.enter_context(Synthetic(host, name, *options))
            frames.append(probes.top.await_match(rf"{name} +[1-9]", SEEN_SECONDS))
            facts[name] = guest.facts(SEEN_SECONDS)
        metrics = exporter.scrape()
        refused = host.run("nvscope probe s2_fault --vm nobody", check=False)
        guest.release()  # the second one
        assert guest.wait() == 0
        probes.top.type("/held\n")
        frames.append(probes.top.await_text("filter 'held'", SEEN_SECONDS))
        probes.stop()
        yield Seen(
            facts=facts,
            metrics=metrics,
            ftrace=oracle(host, "stop"),
            notifier=json.loads(host.remote.fetch(JSON)),
            records=json.loads(probes.records.line(10)),
            rows=list(csv.DictReader(host.remote.fetch(CSV).decode().splitlines())),
            summary=probes.notifier.text(),
            frames=frames,
            refused=refused,
            warnings=probes.records.errors(),
        )
        host.run(f"rm {JSON} {CSV}")


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
    assert counts(seen.records, "vm", "outcome") == {
        (vm, "stored"): facts["records_stored"] for vm, facts in expected.items()
    }
    for result in (seen.notifier, seen.records):
        assert set(result["lost"].values()) == {0}
        assert result["host"]["revmap"] == "maple"


def test_counts_are_ftraces(seen: Seen) -> None:
    for vm, facts in seen.facts.items():
        traced = by_ftrace(seen.ftrace, facts["pid"], facts["shadow_ipa_bits"])
        assert traced["notifier_unmaps"] == counts(seen.notifier, "vm")[vm,]
        assert traced["records_stored"] == counts(seen.records, "vm")[vm,]


def test_rows_of_intervals_add_up(seen: Seen) -> None:
    for vm, facts in seen.facts.items():
        rows = [row for row in seen.rows if row["vm"] == vm]
        assert sum(int(row["count"]) for row in rows) == facts["expected"]["records_stored"]
        assert len(rows) > 1  # it was there for more than one interval
        assert all(int(row["sum_ns"]) >= int(row["p50_low_ns"]) > 0 for row in rows)
        assert {row["lost"] for row in rows} == {"0"}


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
    calls = sum(UNMAPS_OF.values())
    assert f"notifier_unmap: {calls} calls in T, none lost\n" in blurred
    assert "\n vm trigger calls per s mean p50 p90 p99 p99.9\n" in blurred
    rows = "".join(rf" {vm} vmm {n} [\d.]+ T <T <T <T <T\n" for vm, n in UNMAPS_OF.items())
    assert re.search(rf"\n{rows}", blurred)
    assert "\nvm=held trigger=vmm\n T - T " in blurred
    assert "(Ctrl-C ends it)" not in seen.summary


def test_top_shows_what_happens(seen: Seen) -> None:
    busy, _, filtered = seen.frames
    assert re.search(r"^ VM +unmaps/s +full +locked/s↓ +refaults/s +why full$", busy, re.MULTILINE)
    assert re.search(r"^ held +[\d.]+ +0 % +[\d.]+ [µm]s +[\d.]+ [µm]s$", busy, re.MULTILINE)
    assert "none lost" in busy
    assert "held" in filtered


def test_vms_that_are_not_there(seen: Seen) -> None:
    assert seen.refused.returncode == 2
    assert "there is no VM nobody; there are brief, held" in seen.refused.stderr
    assert "Traceback" not in seen.refused.stderr
    assert "no VM is running now; those that begin are measured" in seen.warnings
