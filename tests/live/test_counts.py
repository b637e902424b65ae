"""The exporter's counts against the workload's ground truth and against ftrace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nvscope.lab.services import Exporter, Synthetic
from nvscope.lab.vm import Lab
from tests.live.counts import FULL_BYTES, SHADOW_BYTES, SHADOW_UNMAPS, UNMAPS, counted


def oracle(lab: Lab, command: str) -> Any:
    """Run the guest's ftrace oracle; what it prints."""
    done = lab.run(f"python3 -m nvscope.lab.oracle {command}")
    return json.loads(done.stdout) if done.stdout else None


def run_and_compare(lab: Lab, name: str, unmaps: int, *options: str) -> None:
    """One synthetic guest under exporter and ftrace: three counts, all equal."""
    with Exporter(lab, "--strict", *options) as exporter:
        oracle(lab, "start")
        with Synthetic(lab, name, "--unmaps", str(unmaps)) as guest:
            facts = guest.facts(timeout=60 + 4 * unmaps)
            metrics = exporter.scrape()
            seen = oracle(lab, "stop")
            guest.release()
            assert guest.wait() == 0
        exporter.signal()
        assert exporter.wait() == 0
    expected = {key: facts["expected"][key] for key in counted(metrics, name)}
    assert expected["notifier_unmaps"] == unmaps
    assert counted(metrics, name) == expected
    assert by_ftrace(seen, facts["pid"]) == expected
    # No reverse map: each notifier unmap threw away the one valid shadow MMU, whole.
    full = {"scope": "full", "within": "notifier", "reason": "no_revmap"}
    assert metrics.sum(SHADOW_UNMAPS, vm=name, **full) == unmaps
    assert metrics.sum(SHADOW_BYTES, vm=name) == unmaps * FULL_BYTES
    assert metrics.sum("nvscope_events_lost_total") == 0


def by_ftrace(seen: dict[str, dict[str, int]], pid: int) -> dict[str, int]:
    """The oracle's counts of one VM, whose only vCPU runs in the process's first thread."""
    key = str(pid)
    return {
        "notifier_unmaps": seen["notifier"].get(key, 0),
        "canonical_faults": seen["canonical"].get(key, 0),
        "shadow_faults": seen["shadow"].get(key, 0),
        "full_unmaps_in_notifier": seen["unmap"].get(f"{key},{FULL_BYTES}", 0),
        "ranged_unmaps_in_notifier": 0,
    }


@pytest.mark.parametrize("unmaps", [23, 101])
@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_are_exact(lab_host: Lab, mechanism: str, unmaps: int) -> None:
    run_and_compare(lab_host, f"vm-{mechanism}-{unmaps}", unmaps, "--mechanism", mechanism)


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_are_exact_on_the_stock_kernel(stock_host: Lab, mechanism: str) -> None:
    # A full unmap takes 21 s there: few will do.
    run_and_compare(stock_host, f"stock-{mechanism}", 2, "--mechanism", mechanism)


def test_duration_agrees_with_function_graph(lab_host: Lab) -> None:
    with Exporter(lab_host) as exporter:
        oracle(lab_host, "graph-start kvm_unmap_gfn_range")
        with Synthetic(lab_host, "graph", "--unmaps", "11") as guest:
            guest.facts(timeout=120)
            metrics = exporter.scrape()
            graph = oracle(lab_host, "graph-stop")
    assert graph["calls"] == metrics.sum(f"{UNMAPS}_count", vm="graph") == 11
    assert metrics.sum(f"{UNMAPS}_sum", vm="graph") == pytest.approx(graph["seconds"], rel=0.05)


def test_two_vms_keep_their_own_counts(lab_host: Lab) -> None:
    with (
        Exporter(lab_host) as exporter,
        Synthetic(lab_host, "left", "--unmaps", "7", "--pages", "4") as left,
        Synthetic(lab_host, "right", "--unmaps", "13", "--pages", "32") as right,
    ):
        facts = {"left": left.facts(180), "right": right.facts(180)}
        metrics = exporter.scrape()
        for name, said in facts.items():
            expected = {key: said["expected"][key] for key in counted(metrics, name)}
            assert counted(metrics, name) == expected
        vms = metrics.values("nvscope_vm_info", "vm")
        assert set(vms) == {"left", "right"}
        # A VM's series end with it.
        left.release()
        assert left.wait() == 0
        assert set(exporter.scrape().values("nvscope_vm_info", "vm")) == {"right"}
