"""The real nested guest: a Linux in a Linux, from which the host takes pages back."""

from __future__ import annotations

from nvscope.lab.services import Exporter, Linux
from nvscope.lab.vm import Lab
from tests.live.counts import counted

BOOT_SECONDS = 420


def test_a_linux_guest_under_reclaim(lab_host: Lab) -> None:
    with Exporter(lab_host, "--strict") as exporter, Linux(lab_host, "linux-l1") as guest:
        assert guest.event(BOOT_SECONDS)["event"] == "nested guest works"
        before = counted(exporter.scrape(), "linux-l1")
        assert guest.event(BOOT_SECONDS)["swapped_bytes"] > 0
        after = counted(exporter.scrape(), "linux-l1")
        # Reclaim is what takes pages back here, and the nested guest is what faults them in.
        assert after["notifier_unmaps"] > before["notifier_unmaps"]
        assert after["shadow_faults"] > before["shadow_faults"]
        assert guest.event(BOOT_SECONDS)["event"] == "MADV_PAGEOUT"
        assert guest.event(BOOT_SECONDS)["event"] == "MADV_COLLAPSE"
        last = counted(exporter.scrape(), "linux-l1")
        assert last["notifier_unmaps"] > after["notifier_unmaps"]
        done = guest.event(BOOT_SECONDS)
        assert done["event"] == "done"
        assert done["rounds"] >= 6  # L2 went on, and found its data whole each time
        metrics = exporter.scrape()
    counts = counted(metrics, "linux-l1")
    assert all(counts[key] > 0 for key in ("canonical_faults", "shadow_faults"))
    assert counts["full_unmaps_in_notifier"] > 0
    assert metrics.sum("nvscope_events_lost_total") == 0
