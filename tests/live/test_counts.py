"""The exporter's counts against the workload's ground truth and against ftrace."""

from __future__ import annotations

from typing import Any

import pytest

from nvscope.lab.host.services import Metrics, Synthetic
from tests.live.conftest import Observed
from tests.live.counts import SHADOW_BYTES, SHADOW_UNMAPS, UNMAPS, assert_all_agree, oracle

OFF = pytest.mark.parametrize("observed", ["off-fentry"], indirect=True)
STOCK = pytest.mark.parametrize("observed", ["stock-fentry", "stock-kprobe"], indirect=True)
# test_cases.py has it with kprobes too.
REVMAP = pytest.mark.parametrize(
    ("observed", "kind"),
    [("lab-fentry", "maple"), ("tracking-fentry", "tracking")],
    indirect=["observed"],
)


def run_and_compare(observed: Observed, name: str, unmaps: int) -> tuple[Metrics, dict[str, Any]]:
    """One synthetic guest under exporter and ftrace: three counts, all equal."""
    lab, exporter, _ = observed
    oracle(lab, "start")
    with Synthetic(lab, name, "--unmaps", str(unmaps)) as guest:
        facts = guest.facts(timeout=60 + 4 * unmaps)
        metrics = exporter.scrape()
        seen = oracle(lab, "stop")
        guest.release()
        assert guest.wait() == 0
    assert facts["expected"]["notifier_unmaps"] == unmaps
    assert_all_agree(facts, metrics, seen)
    return metrics, facts


def assert_all_whole(observed: Observed, name: str, unmaps: int) -> None:
    """No reverse map: each notifier unmap threw away the one valid shadow MMU, whole."""
    metrics, facts = run_and_compare(observed, name, unmaps)
    full = {"scope": "full", "within": "notifier", "reason": "no_revmap"}
    assert metrics.sum(SHADOW_UNMAPS, vm=name, **full) == unmaps
    assert metrics.sum(SHADOW_BYTES, vm=name) == unmaps << facts["shadow_ipa_bits"]
    assert metrics.values("nvscope_host_info", "revmap") == {"none": 1}
    assert not metrics.select("nvscope_fallbacks_total")


@OFF
@pytest.mark.parametrize("unmaps", [23, 101])
def test_counts_are_exact_without_a_reverse_map(observed: Observed, unmaps: int) -> None:
    assert_all_whole(observed, f"off-{unmaps}", unmaps)


@STOCK
def test_counts_are_exact_on_the_stock_kernel(observed: Observed) -> None:
    # A full unmap takes 21 s there: few will do.
    assert_all_whole(observed, "stock", 2)


@REVMAP
def test_counts_are_exact_with_a_reverse_map(observed: Observed, kind: str) -> None:
    metrics, _ = run_and_compare(observed, "revmap", 101)
    assert metrics.sum(SHADOW_UNMAPS, vm="revmap", scope="full") == 0
    assert metrics.sum(SHADOW_UNMAPS, vm="revmap", scope="ranged", within="notifier") == 101
    assert metrics.sum(SHADOW_BYTES, vm="revmap") == 101 * 4096
    assert metrics.values("nvscope_host_info", "revmap") == {kind: 1}


@pytest.mark.parametrize("observed", ["off-fentry"], indirect=True)
def test_duration_agrees_with_function_graph(observed: Observed) -> None:
    lab, exporter, _ = observed
    oracle(lab, "graph-start kvm_unmap_gfn_range")
    with Synthetic(lab, "graph", "--unmaps", "11") as guest:
        guest.facts(timeout=120)
        metrics = exporter.scrape()
        graph = oracle(lab, "graph-stop")
    assert len(graph) == metrics.sum(f"{UNMAPS}_count", vm="graph") == 11
    assert metrics.sum(f"{UNMAPS}_sum", vm="graph") == pytest.approx(sum(graph), rel=0.05)
    # Bucket by bucket: only what ftrace has within a tenth of a bound may lie on either side.
    for bucket in metrics.select(f"{UNMAPS}_bucket", vm="graph"):
        bound = float(bucket.labels["le"])
        surely = sum(seconds < 0.9 * bound for seconds in graph)
        perhaps = sum(seconds < 1.1 * bound for seconds in graph)
        assert surely <= bucket.value <= perhaps, (bound, graph)


@pytest.mark.parametrize("observed", ["lab-fentry", "tracking-fentry"], indirect=True)
def test_two_vms_keep_their_own_counts(observed: Observed) -> None:
    lab, exporter, _ = observed
    with (
        Synthetic(lab, "left", "--unmaps", "7", "--pages", "4") as left,
        Synthetic(lab, "right", "--unmaps", "13", "--pages", "32") as right,
    ):
        facts = [left.facts(180), right.facts(180)]
        metrics = exporter.scrape()
        for said in facts:
            assert_all_agree(said, metrics, seen=None)
        vms = metrics.values("nvscope_vm_info", "vm")
        assert set(vms) == {"left", "right"}
        # A VM's series end with it.
        left.release()
        assert left.wait() == 0
        assert set(exporter.scrape().values("nvscope_vm_info", "vm")) == {"right"}
