"""`nvscope probe` and `nvscope top` against ground truth, ftrace, and the exporter.

What they see is in oneshot.py.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import accumulate
from typing import Any

import pytest

from tests.live.conftest import Observed
from tests.live.counts import UNMAPS as UNMAPS_METRIC
from tests.live.counts import by_ftrace, threads_of
from tests.live.oneshot import (
    BUSY,
    MERGED,
    MERGED_UNMAPS,
    STARVED,
    STARVED_UNMAPS,
    UNMAPS,
    Seen,
    watch,
)

pytestmark = pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
NOTIFIER, RECORDS = "notifier_unmap", "revmap_record"


@pytest.fixture(scope="module")
def seen(observed: Observed) -> Seen:
    """All that was seen, in one go."""
    return watch(observed)


def counts(result: dict[str, Any], *axes: str) -> Counter[tuple[str, ...]]:
    """Values of these axes -> calls."""
    found: Counter[tuple[str, ...]] = Counter()
    for group in result["groups"]:
        found[tuple(group["labels"][axis] for axis in axes)] += group["count"]
    return found


def expected(seen: Seen, name: str) -> Counter[str]:
    """What the ledger of one of the first two VMs says."""
    return Counter(seen.facts[name]["expected"])


def test_notifier_unmaps_are_the_workloads(seen: Seen) -> None:
    found = counts(seen.results[NOTIFIER], "vm", "trigger")
    known = UNMAPS | {STARVED: STARVED_UNMAPS, MERGED: MERGED_UNMAPS}
    assert {vm: found[vm, "vmm"] for vm in known} == known
    assert {vm for vm, word in found if word != "vmm"} == {MERGED}
    assert set(seen.results[NOTIFIER]["lost"].values()) == {0}


def test_the_exporter_and_ftrace_have_counted_the_same(seen: Seen) -> None:
    before, after = seen.before, seen.after
    assert before
    assert after
    found = counts(seen.results[NOTIFIER], "vm")
    metric = f"{UNMAPS_METRIC}_count"
    assert after.sum(metric) - before.sum(metric) == sum(UNMAPS.values())
    for vm, unmaps in UNMAPS.items():
        facts = seen.facts[vm]
        traced = by_ftrace(seen.ftrace, threads_of(facts), facts["shadow_ipa_bits"])
        assert found[vm,] == after.sum(metric, vm=vm) == traced["notifier_unmaps"] == unmaps


def test_faults_and_shadow_unmaps_are_the_workloads(seen: Seen) -> None:
    faults = counts(seen.results["s2_fault"], "vm", "stage", "result")
    shadows = counts(seen.results["shadow_unmap"], "vm", "scope", "within")
    for vm in UNMAPS:
        told = expected(seen, vm)
        assert faults.pop((vm, "canonical", "ok")) == told["canonical_faults"]
        assert faults.pop((vm, "shadow", "ok")) == told["shadow_faults"]
        assert shadows.pop((vm, "ranged", "notifier")) == told["ranged_unmaps_in_notifier"]
    assert not faults
    assert not shadows
    for name in ("s2_fault", "shadow_unmap"):
        assert set(seen.results[name]["lost"].values()) == {0}


def test_records_by_kprobes_are_the_workloads(seen: Seen) -> None:
    """The other probes, top and the exporter read their maps meanwhile: nothing is lost by that."""
    assert {(row["vm"], row["outcome"]) for row in seen.rows} == {
        (vm, "stored") for vm in (*UNMAPS, STARVED)
    }
    for vm in UNMAPS:
        rows = [row for row in seen.rows if row["vm"] == vm]
        assert {row["lost"] for row in rows} == {"0"}
        assert len(rows) > 1  # it was there for more than one interval
        assert sum(int(row["count"]) for row in rows) == expected(seen, vm)["records_stored"]
        facts = seen.facts[vm]
        traced = by_ftrace(seen.ftrace, threads_of(facts), facts["shadow_ipa_bits"])
        assert traced["records_stored"] == expected(seen, vm)["records_stored"]
        assert counts(seen.results[RECORDS], "vm")[vm,] == traced["records_stored"]


def test_records_that_the_kernel_does_not_show_are_lost(seen: Seen) -> None:
    """Each is at least one program that was not run: its begin's or its end's."""
    found = counts(seen.results[RECORDS], "vm")[STARVED,]
    missing = expected(seen, STARVED)["records_stored"] - found
    lost = seen.results[RECORDS]["lost"]
    print(found, missing, lost)
    assert 0 < missing <= sum(lost.values())
    assert lost["recursion"] > 0


def test_triggers_are_those_of_the_tasks(seen: Seen) -> None:
    """ftrace knows in which task each call was made, and nothing of triggers."""
    pids = {str(facts["pid"]): vm for vm, facts in seen.facts.items()}
    words = dict.fromkeys(pids, "vmm") | {pid: word for word, pid in seen.tasks.items()}
    traced: Counter[str] = Counter()
    for pid, n in seen.ftrace_end["notifier"].items():
        if pids.get(pid) != BUSY:
            traced[words.get(pid, "other")] += n
    found: Counter[str] = Counter()
    for (vm, word), n in counts(seen.results[NOTIFIER], "vm", "trigger").items():
        if vm != BUSY:
            found[word] += n
    assert found == traced
    # A page that is merged is write-protected first.
    assert found["ksm"] > found["other"] > 500
    assert found["reclaim"] >= 100


def test_a_histogram_is_that_of_its_calls(seen: Seen) -> None:
    """A threshold that all exceed: each call's duration by itself, from the same clock reads."""
    slow = seen.results[NOTIFIER]["slow"]
    for group in seen.results[NOTIFIER]["groups"]:
        vm, word = group["labels"]["vm"], group["labels"]["trigger"]
        if vm in (*UNMAPS, STARVED):
            took = [c["duration_ns"] for c in slow if (c["vm"], c["trigger"]) == (vm, word)]
            slots = Counter(ns.bit_length() for ns in took)
            assert {i: n for i, n in enumerate(group["slots"]) if n} == slots
            assert group["sum_ns"] == sum(took)
            low, high = group["percentiles_ns"]["50"]
            assert low <= sorted(took)[(len(took) - 1) // 2] < high


def test_the_histogram_is_the_exporters(seen: Seen) -> None:
    """Both are on the same calls, each with clock reads of its own.

    Between the two clock reads at one end of a call lies one of the programs, of less than the call
    takes: what is in a slot with one is in that, or in one beside it, with the other. An interrupt
    may come between them as well: some in a hundred calls may lie anywhere.
    """
    assert seen.after
    for vm, unmaps in UNMAPS.items():
        (group,) = (g for g in seen.results[NOTIFIER]["groups"] if g["labels"]["vm"] == vm)
        mine = list(accumulate(group["slots"]))
        buckets = seen.after.values(f"{UNMAPS_METRIC}_bucket", "le", vm=vm)
        assert buckets.pop("+Inf") == mine[-1] == unmaps
        anywhere = unmaps // 20
        for bound, n in buckets.items():
            slot = round(float(bound) * 1e9).bit_length() - 1  # the last one below the bound
            low, high = mine[slot - 1] - anywhere, mine[slot + 1] + anywhere
            assert low <= n <= high, f"{vm}: below {bound} s"


def test_slow_calls_have_their_stack(seen: Seen) -> None:
    result = seen.results[NOTIFIER]
    slow = result["slow"]
    assert len(slow) + result["slow_dropped"] == sum(counts(result, "vm").values())
    for call in slow:
        names = [frame.partition("+")[0] for frame in call["stack"]]
        assert names[0] == "kvm_unmap_gfn_range"
        assert "kvm_mmu_notifier_invalidate_range_start" in names
        assert ("do_madvise" in names) == (call["trigger"] == "vmm")
    mine = [call for call in slow if call["vm"] in UNMAPS]
    assert {(c["trigger"], c["comm"], c["size"]) for c in mine} == {("vmm", "python3", 4096)}
    assert {c["tid"] for c in mine} == {seen.facts[vm]["pid"] for vm in UNMAPS}


def test_ctrl_c_in_the_middle_leaves_a_whole_result(seen: Seen) -> None:
    result = seen.results[NOTIFIER]
    busy = counts(result, "vm")[BUSY,]
    assert 0 < busy <= seen.facts[BUSY]["unmaps"]
    assert (result["probe"], result["by"]) == (NOTIFIER, ["vm", "trigger"])
    assert result["host"]["revmap"] == "maple"
    total = sum(counts(result, "vm").values())
    assert f"{NOTIFIER}: {total:,} calls in {result['seconds']:.1f} s, none lost" in seen.summary
    assert re.search(rf"^ ?{BUSY} +vmm +{busy} ", seen.summary, re.MULTILINE)
    assert f"vm={MERGED} trigger=ksm" in seen.summary
    for words in ("(Ctrl-C ends it)", "Aborted", "Traceback"):
        assert words not in seen.summary


def test_top_shows_both_at_work(seen: Seen) -> None:
    busy, filtered = seen.top
    assert re.search(r"VM +unmaps/s +full +locked/s↓ +refaults/s +why full", busy)
    assert "nvscope top: 2 of 2 VMs" in busy
    assert "none lost" in busy
    assert f"filter '{BUSY}'" in filtered
    assert not re.search(rf"\b{MERGED}\b", filtered)


def test_a_vm_that_is_not_there(seen: Seen) -> None:
    assert seen.refused
    assert seen.refused.returncode == 2
    assert "there is no VM nobody; there are first, second" in seen.refused.stderr
    assert "Traceback" not in seen.refused.stderr


def test_two_results_are_compared(seen: Seen) -> None:
    """By the command, on the host; a condition that is met is its exit code."""
    assert seen.compared
    assert (seen.compared.returncode, "Traceback" in seen.compared.stderr) == (1, False)
    said = json.loads(seen.compared.stdout)
    for group in said["groups"]:
        labels = group["labels"]
        found = counts(seen.results[NOTIFIER], "vm", "trigger")
        if labels:
            count = group["metrics"]["count"]
            assert count["a"]["value"] == found[labels["vm"], labels["trigger"]]
            assert count["ratio"]["value"] == 1
    met = [verdict["labels"] for verdict in said["conditions"] if verdict["failed"]]
    assert met == [{"vm": "first", "trigger": "vmm"}]
