"""Random operations on the synthetic guest: exporter, ledger and ftrace agree on every count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nvscope.lab.services import Exporter, Metrics, Synthetic
from nvscope.lab.vm import Lab
from tests.live.counts import SHADOW_UNMAPS, counted

OPERATIONS = ("--operations", "300", "--max-full-unmaps", "80")

# The ledger's name -> the oracle's, of what has one event of its own.
EVENTS = {
    "notifier_unmaps": "notifier",
    "canonical_faults": "canonical",
    "shadow_faults": "shadow",
    "reflected_aborts": "reflected",
}
WITHIN = {"notifier": "in_notifier", "other": "elsewhere"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counts_of_random_operations_are_exact(lab_host: Lab, seed: int) -> None:
    name = f"shuffle-{seed}"
    with Exporter(lab_host, "--strict") as exporter:
        lab_host.run("python3 -m nvscope.lab.oracle start")
        options = ("--seed", str(seed), *OPERATIONS)
        with Synthetic(lab_host, name, *options, script="shuffle") as guest:
            facts = guest.facts(timeout=120)
            metrics = exporter.scrape()
            seen = json.loads(lab_host.run("python3 -m nvscope.lab.oracle stop").stdout)
            guest.release()
            assert guest.wait() == 0
        exporter.signal()
        assert exporter.wait() == 0
    expected: dict[str, int] = facts["expected"].copy()
    print(facts)  # pytest shows it when the test fails
    assert by_ftrace(seen, facts) == expected
    del expected["reflected_aborts"]  # has no metric
    assert by_exporter(metrics, name) == expected
    assert metrics.sum("nvscope_events_lost_total") == 0
    # The operations were such that this says something.
    assert {"take_back", "remap", "unmap", "tlbi_context", "tlbi_all"} <= facts["done"].keys()
    never = {name for name, count in facts["expected"].items() if count == 0}
    assert never == {"ranged_unmaps_in_notifier"}  # these take a reverse map


def by_exporter(metrics: Metrics, vm: str) -> dict[str, int]:
    """The exporter's counts of one VM, under the ledger's names."""
    elsewhere = {
        f"{scope}_unmaps_elsewhere": int(
            metrics.sum(SHADOW_UNMAPS, vm=vm, scope=scope, within="other")
        )
        for scope in ("full", "ranged")
    }
    return {**counted(metrics, vm), **elsewhere}


def by_ftrace(seen: dict[str, dict[str, int]], facts: dict[str, Any]) -> dict[str, int]:
    """The oracle's counts of one VM, whose only vCPU runs in the process's first thread."""
    counts = dict.fromkeys(facts["expected"], 0)
    for name, event in EVENTS.items():
        counts[name] = seen[event].get(str(facts["pid"]), 0)
    for key, count in seen["shadow_unmap"].items():
        pid, size, within = key.split(",")
        if pid == str(facts["pid"]):
            scope = "full" if int(size) == 1 << facts["shadow_ipa_bits"] else "ranged"
            counts[f"{scope}_unmaps_{WITHIN[within]}"] += count
    return counts
