"""The exporter's counts against the workload's ground truth and against ftrace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nvscope.lab.services import Exporter, Metrics, Synthetic
from nvscope.lab.vm import Lab
from tests.live.counts import SHADOW_BYTES, SHADOW_UNMAPS, UNMAPS, assert_all_agree, oracle

Observed = tuple[Lab, Exporter]
MECHANISMS = ("fentry", "kprobe")


def observe(lab: Lab, mechanism: str) -> Iterator[Observed]:
    """One exporter for all tests that can share it: compiling it takes the time."""
    with Exporter(lab, "--strict", "--mechanism", mechanism) as exporter:
        yield lab, exporter
        assert exporter.errors() == ""
        exporter.signal()
        assert exporter.wait() == 0


@pytest.fixture(scope="module", params=MECHANISMS)
def plain(request: pytest.FixtureRequest, plain_host: Lab) -> Iterator[Observed]:
    """The lab kernel with its reverse map off."""
    yield from observe(plain_host, request.param)


@pytest.fixture(scope="module", params=MECHANISMS)
def stock(request: pytest.FixtureRequest, stock_host: Lab) -> Iterator[Observed]:
    """Debian's kernel."""
    yield from observe(stock_host, request.param)


@pytest.fixture(scope="module")
def revmap(lab_host: Lab) -> Iterator[Observed]:
    """The lab kernel with its reverse map on; test_cases.py has it with kprobes too."""
    yield from observe(lab_host, "fentry")


def run_and_compare(observed: Observed, name: str, unmaps: int) -> tuple[Metrics, dict[str, Any]]:
    """One synthetic guest under exporter and ftrace: three counts, all equal."""
    lab, exporter = observed
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


@pytest.mark.parametrize("unmaps", [23, 101])
def test_counts_are_exact_without_a_reverse_map(plain: Observed, unmaps: int) -> None:
    assert_all_whole(plain, f"plain-{unmaps}", unmaps)


def test_counts_are_exact_on_the_stock_kernel(stock: Observed) -> None:
    # A full unmap takes 21 s there: few will do.
    assert_all_whole(stock, "stock", 2)


def test_counts_are_exact_with_a_reverse_map(revmap: Observed) -> None:
    metrics, _ = run_and_compare(revmap, "revmap", 101)
    assert metrics.sum(SHADOW_UNMAPS, vm="revmap", scope="full") == 0
    assert metrics.sum(SHADOW_UNMAPS, vm="revmap", scope="ranged", within="notifier") == 101
    assert metrics.sum(SHADOW_BYTES, vm="revmap") == 101 * 4096
    assert metrics.values("nvscope_host_info", "revmap") == {"maple": 1}


@pytest.mark.parametrize("plain", ["fentry"], indirect=True)
def test_duration_agrees_with_function_graph(plain: Observed) -> None:
    lab, exporter = plain
    oracle(lab, "graph-start kvm_unmap_gfn_range")
    with Synthetic(lab, "graph", "--unmaps", "11") as guest:
        guest.facts(timeout=120)
        metrics = exporter.scrape()
        graph = oracle(lab, "graph-stop")
    assert graph["calls"] == metrics.sum(f"{UNMAPS}_count", vm="graph") == 11
    assert metrics.sum(f"{UNMAPS}_sum", vm="graph") == pytest.approx(graph["seconds"], rel=0.05)


def test_two_vms_keep_their_own_counts(revmap: Observed) -> None:
    lab, exporter = revmap
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
