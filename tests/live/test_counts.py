"""The exporter's counts against the workload's ground truth and against ftrace."""

from __future__ import annotations

from typing import Any

import pytest

from nvscope.lab.services import Exporter, Metrics, Synthetic
from nvscope.lab.vm import Lab
from tests.live.counts import SHADOW_BYTES, SHADOW_UNMAPS, UNMAPS, assert_all_agree, oracle


def run_and_compare(
    lab: Lab, name: str, unmaps: int, *options: str
) -> tuple[Metrics, dict[str, Any]]:
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
    assert facts["expected"]["notifier_unmaps"] == unmaps
    assert_all_agree(facts, metrics, seen)
    return metrics, facts


def assert_all_whole(metrics: Metrics, name: str, unmaps: int, ipa_bits: int) -> None:
    """No reverse map: each notifier unmap threw away the one valid shadow MMU, whole."""
    full = {"scope": "full", "within": "notifier", "reason": "no_revmap"}
    assert metrics.sum(SHADOW_UNMAPS, vm=name, **full) == unmaps
    assert metrics.sum(SHADOW_BYTES, vm=name) == unmaps << ipa_bits


@pytest.mark.parametrize("unmaps", [23, 101])
@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_are_exact_without_a_reverse_map(
    plain_host: Lab, mechanism: str, unmaps: int
) -> None:
    name = f"vm-{mechanism}-{unmaps}"
    metrics, facts = run_and_compare(plain_host, name, unmaps, "--mechanism", mechanism)
    assert_all_whole(metrics, name, unmaps, facts["shadow_ipa_bits"])
    assert not metrics.select("nvscope_fallbacks_total")


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_are_exact_with_a_reverse_map(lab_host: Lab, mechanism: str) -> None:
    name = f"vm-{mechanism}"
    metrics, _ = run_and_compare(lab_host, name, 101, "--mechanism", mechanism)
    assert metrics.sum(SHADOW_UNMAPS, vm=name, scope="full") == 0
    assert metrics.sum(SHADOW_UNMAPS, vm=name, scope="ranged", within="notifier") == 101
    assert metrics.sum(SHADOW_BYTES, vm=name) == 101 * 4096


@pytest.mark.parametrize("mechanism", ["fentry", "kprobe"])
def test_counts_are_exact_on_the_stock_kernel(stock_host: Lab, mechanism: str) -> None:
    # A full unmap takes 21 s there: few will do.
    name = f"stock-{mechanism}"
    metrics, facts = run_and_compare(stock_host, name, 2, "--mechanism", mechanism)
    assert_all_whole(metrics, name, 2, facts["shadow_ipa_bits"])


@pytest.mark.parametrize(("fixture", "revmap"), [("lab_host", "maple"), ("plain_host", "none")])
def test_the_host_says_which_reverse_map_it_has(
    request: pytest.FixtureRequest, fixture: str, revmap: str
) -> None:
    with Exporter(request.getfixturevalue(fixture), "--strict") as exporter:
        assert exporter.scrape().values("nvscope_host_info", "revmap") == {revmap: 1}
        assert exporter.errors() == ""


def test_duration_agrees_with_function_graph(plain_host: Lab) -> None:
    with Exporter(plain_host) as exporter:
        oracle(plain_host, "graph-start kvm_unmap_gfn_range")
        with Synthetic(plain_host, "graph", "--unmaps", "11") as guest:
            guest.facts(timeout=120)
            metrics = exporter.scrape()
            graph = oracle(plain_host, "graph-stop")
    assert graph["calls"] == metrics.sum(f"{UNMAPS}_count", vm="graph") == 11
    assert metrics.sum(f"{UNMAPS}_sum", vm="graph") == pytest.approx(graph["seconds"], rel=0.05)


def test_two_vms_keep_their_own_counts(lab_host: Lab) -> None:
    with (
        Exporter(lab_host) as exporter,
        Synthetic(lab_host, "left", "--unmaps", "7", "--pages", "4") as left,
        Synthetic(lab_host, "right", "--unmaps", "13", "--pages", "32") as right,
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
