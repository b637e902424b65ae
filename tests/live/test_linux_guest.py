"""The real nested guest: a Linux in a Linux, from which the host takes pages back."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nvscope.lab.services import GuestProcess, Linux, Metrics
from nvscope.lab.vm import Lab
from tests.live.conftest import Observed
from tests.live.counts import FAULTS, SHADOW_UNMAPS, UNMAPS

BOOT_SECONDS = 420
PROBE_SECONDS = 300
VM = "linux-l1"


def counted(metrics: Metrics) -> dict[str, int]:
    """Some counts of the VM, by name."""
    unmaps = {"vm": VM, "within": "notifier"}
    return {
        "notifier_unmaps": int(metrics.sum(f"{UNMAPS}_count", vm=VM)),
        "canonical_faults": int(metrics.sum(FAULTS, vm=VM, stage="canonical")),
        "shadow_faults": int(metrics.sum(FAULTS, vm=VM, stage="shadow")),
        "full_unmaps": int(metrics.sum(SHADOW_UNMAPS, scope="full", **unmaps)),
        "ranged_unmaps": int(metrics.sum(SHADOW_UNMAPS, scope="ranged", **unmaps)),
        "refaults": int(metrics.sum("nvscope_refaults_total", vm=VM)),
        "fallbacks": int(metrics.sum("nvscope_fallbacks_total", vm=VM)),
        "stored": int(metrics.sum("nvscope_revmap_records_total", vm=VM, outcome="stored")),
    }


@contextlib.contextmanager
def probed(host: Lab) -> Iterator[GuestProcess]:
    """`nvscope probe` beside the exporter, from before the VM on."""
    command = "nvscope probe notifier_unmap --by vm --by trigger --json"
    with GuestProcess(host, command) as probe:
        probe.await_error("nvscope: measuring", PROBE_SECONDS)
        yield probe


def ended(probe: GuestProcess) -> dict[str, Any]:
    """Its result."""
    probe.signal(signal.SIGINT)
    result: dict[str, Any] = json.loads(probe.line(60))
    assert probe.wait() == 0
    return result


def assert_agrees(result: dict[str, Any], least: int, most: int) -> None:
    """It has lost nothing, and seen as much as the exporter: before it ended, and after."""
    groups = [group for group in result["groups"] if group["labels"]["vm"] == VM]
    assert least <= sum(group["count"] for group in groups) <= most
    assert {group["labels"]["trigger"] for group in groups} >= {"vmm"}
    assert set(result["lost"].values()) == {0}


@pytest.mark.parametrize("observed", ["lab-fentry", "plain-fentry"], indirect=True)
def test_a_linux_guest_under_reclaim(observed: Observed) -> None:
    host, exporter, _ = observed
    with ExitStack() as stack:
        [revmap] = exporter.scrape().values("nvscope_host_info", "revmap")
        probe = stack.enter_context(probed(host)) if revmap == "maple" else None
        guest = stack.enter_context(Linux(host, VM))
        assert guest.event(BOOT_SECONDS)["event"] == "nested guest works"
        before = counted(exporter.scrape())
        assert guest.event(BOOT_SECONDS)["swapped_bytes"] > 0
        after = counted(exporter.scrape())
        # Reclaim is what takes pages back here.
        assert after["notifier_unmaps"] > before["notifier_unmaps"]
        assert guest.event(BOOT_SECONDS)["event"] == "MADV_PAGEOUT"
        assert guest.event(BOOT_SECONDS)["event"] == "MADV_COLLAPSE"
        last = counted(exporter.scrape())
        assert last["notifier_unmaps"] > after["notifier_unmaps"]
        done = guest.event(BOOT_SECONDS)
        assert done["event"] == "done"
        assert done["rounds"] >= 6  # L2 went on, and found its data whole each time
        metrics = exporter.scrape()
        if probe:
            least = counted(metrics)["notifier_unmaps"]
            result = ended(probe)
            assert_agrees(result, least, counted(exporter.scrape())["notifier_unmaps"])
    counts = counted(metrics)
    assert all(counts[key] > 0 for key in ("canonical_faults", "shadow_faults"))
    assert metrics.sum("nvscope_events_lost_total") == 0
    print(before, after, last, counts)  # pytest shows it when the test fails
    if revmap == "maple":
        assert counts["stored"] > 0
        # What is paged out is L2's: it is taken from L2 by range, and faulted in again.
        assert last["ranged_unmaps"] > after["ranged_unmaps"]
        assert last["refaults"] > after["refaults"]
        # With the reverse map in use each full unmap has a reason why it was not.
        assert counts["full_unmaps"] == counts["fallbacks"]
    else:
        # Whatever L1 alone had, L2 loses all and faults it in again: with the reverse map that
        # need not be.
        assert after["shadow_faults"] > before["shadow_faults"]
        assert counts["full_unmaps"] > 0
        assert counts["ranged_unmaps"] == counts["fallbacks"] == counts["stored"] == 0
