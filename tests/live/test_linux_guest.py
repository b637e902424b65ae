"""The real nested guest: a Linux in a Linux, from which the host takes pages back."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from nvscope.lab.host.services import Exporter, GuestProcess, Linux, Metrics
from nvscope.lab.host.vm import Lab
from tests.live.beside import Beside, assert_agree, everything
from tests.live.conftest import Observed
from tests.live.counts import FAULTS, SHADOW_UNMAPS, UNMAPS

BOOT_SECONDS = 420
VM = "linux-l1"
STORM = "--rate 5 --pages 4 --duration 6s"
ROW = rf"\b{VM} +[1-9]"  # unmaps a second


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


def stormed(host: Lab, exporter: Exporter, beside: Beside) -> None:
    """A storm on the guest at work: top shows it, and the exporter counts each page that went."""
    before = exporter.scrape().sum(f"{UNMAPS}_count", vm=VM)
    with GuestProcess(host, f"nvscope storm --vm {VM} --yes --json {STORM}") as storm:
        beside.top.await_match(ROW, BOOT_SECONDS)
        said = json.loads(storm.line(BOOT_SECONDS))
        assert storm.wait() == 0
    assert (said["errors"], said["vm_ended"]) == ({}, False)
    assert 0 < said["pages"] <= exporter.scrape().sum(f"{UNMAPS}_count", vm=VM) - before
    assert "none lost" in beside.top.text()


@pytest.mark.parametrize("observed", ["lab-fentry", "off-fentry"], indirect=True)
def test_a_linux_guest_under_reclaim(observed: Observed) -> None:
    host, exporter, _ = observed
    with ExitStack() as stack:
        [revmap] = exporter.scrape().values("nvscope_host_info", "revmap")
        beside = stack.enter_context(everything(host)) if revmap == "maple" else None
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
        if beside:
            stormed(host, exporter, beside)
        metrics = exporter.scrape()
        if beside:
            assert_agree(beside.finish(), VM, metrics, exporter.scrape())
        guest.release()
        assert guest.event(BOOT_SECONDS)["event"] == "released"  # after two rounds more
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
